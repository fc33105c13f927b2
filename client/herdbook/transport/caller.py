"""Makes calls over one channel, from any thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

import grpc

from herdbook.core.operations.operation import Listing, Operation, PageTokens
from herdbook.core.retrying import Contact
from herdbook.errors import (
    Cancelled,
    ClientClosed,
    ConnectionLost,
    DeadlineExceeded,
    ForkedProcess,
    HerdbookError,
)
from herdbook.transport.connection import Connection
from herdbook.transport.failures import error_of
from herdbook.transport.jitter import jitter

if TYPE_CHECKING:
    from herdbook.transport.direct import Direct

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")

BreaksOff: TypeAlias = Callable[[Callable[[], object]], AbstractContextManager[None]]
"""Surrounds a call, and may break it off by what it is given."""


class ByteStream(Protocol):
    """The messages of a server-streaming call, as they come."""

    def __iter__(self) -> Iterator[bytes]: ...

    def cancel(self) -> bool:
        """Breaks the call off."""


class PendingUpload(Protocol):
    """A client-streaming call under way."""

    def result(self) -> bytes:
        """Waits for the answer."""

    def cancel(self) -> bool:
        """Breaks the call off."""


def open_channel(connection: Connection) -> grpc.Channel:
    """Opens a channel; it connects with the first call."""
    credentials = connection.credentials()
    options = connection.channel_options()
    if credentials is None:
        return grpc.insecure_channel(connection.target, options)
    return grpc.secure_channel(connection.target, credentials, options)


class Caller:
    """One channel, the calls over it, and their repetitions. Every method may run in any thread."""

    def __init__(self, connection: Connection, contact: Contact | None = None) -> None:
        """Opens nothing yet.

        Args:
            connection: To which server, and as whom.
            contact: What is known of the server by others who talk to it.
        """
        self.connection: Final = connection
        self.contact: Final = contact or Contact()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._channel: grpc.Channel | None = None
        self._unary: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._process: int | None = None
        self._direct: Direct | None = None

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits, but no longer than until the close; returns whether it is closed."""
        return self._closed.wait(seconds)

    def close(self) -> None:
        """Gives up the calls under way and closes the channel; may be called again."""
        if self._process not in (None, os.getpid()):
            # The channel of a parent process must not be touched: its threads are not here, and
            # one of them may hold the lock.
            return
        self._closed.set()
        with self._lock:
            channel, self._channel = self._channel, None
            direct, self._direct = self._direct, None
            self._unary = {}
        if channel is not None:
            channel.close()
        if direct is not None:
            direct.close()

    def direct(self) -> Direct:
        """Returns what makes signed requests to the chunk store. Raises ClientClosed."""
        from herdbook.transport.direct import Direct

        with self._lock:
            if self.closed:
                raise ClientClosed
            if self._direct is None:
                self._direct = Direct(self.connection)
            return self._direct

    def call(
        self, operation: Operation[ResultT], *, breaks_off: BreaksOff | None = None
    ) -> ResultT:
        """Makes a unary call, again if it broke and may be repeated, within the deadline.

        Args:
            operation: The call.
            breaks_off: Surrounds each attempt; may call what it is given to break it off.
        """
        request = operation.request.SerializeToString()
        deadline = time.monotonic() + self.connection.timeout_seconds
        failures = 0
        while True:
            try:
                answer = self._attempt(operation.method, request, deadline, breaks_off)
                self.contact.answered = True
                return operation.decode(answer)
            except HerdbookError as error:
                failures += 1
                self.contact.refused(error)
                delay = self.contact.patience().delay_before_repeating(
                    error,
                    failures,
                    repeatable=operation.repeatable,
                    jitter=jitter(),
                )
                if delay is None or time.monotonic() + delay >= deadline:
                    raise self.explained(error) from error.__cause__
                if self.wait(delay):
                    raise ClientClosed from error

    def explained(self, error: HerdbookError) -> HerdbookError:
        """Returns what says more about why the server is not reached, or the error itself."""
        if self.contact.answered or self.closed:
            return error
        from herdbook.transport.diagnosis import explained

        return explained(error, self.connection)

    def _attempt(
        self, method: str, request: bytes, deadline: float, breaks_off: BreaksOff | None
    ) -> bytes:
        timeout_seconds = max(deadline - time.monotonic(), 0.001)
        metadata = self.connection.metadata
        with self.translated():
            call = self._unary_callable(method)
            if breaks_off is None:
                return call(request, timeout=timeout_seconds, metadata=metadata)
            pending = call.future(request, timeout=timeout_seconds, metadata=metadata)
            with breaks_off(pending.cancel):
                return pending.result()

    def _unary_callable(self, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        known = self._unary.get(method)
        if known is not None and os.getpid() == self._process:
            return known
        made: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel().unary_unary(method)
        self._unary[method] = made
        return made

    def items(self, listing: Listing[ItemT]) -> Iterator[ItemT]:
        """Yields the items of a list; asks for a page when the one before is used up."""
        token, tokens = "", PageTokens()
        while True:
            page = self.call(listing.page(token))
            yield from page.items
            token = tokens.after(page)
            if not token:
                return

    def download(
        self, method: str, request: bytes, *, timeout_seconds: float | None = None
    ) -> ByteStream:
        """Starts a call that answers with a stream; who starts it must cancel it in the end."""
        call: grpc.UnaryStreamMultiCallable[bytes, bytes] = self.channel().unary_stream(method)
        return call(request, timeout=timeout_seconds, metadata=self.connection.metadata)

    def upload(
        self, method: str, requests: Iterable[bytes], *, timeout_seconds: float | None = None
    ) -> PendingUpload:
        """Starts a call that sends a stream; who starts it must cancel it in the end."""
        call: grpc.StreamUnaryMultiCallable[bytes, bytes] = self.channel().stream_unary(method)
        return call.future(
            iter(requests), timeout=timeout_seconds, metadata=self.connection.metadata
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns what a channel raises into errors of the tree."""
        try:
            yield
        except grpc.RpcError as failure:
            raise self._meaning(failure) from None
        except grpc.FutureCancelledError:
            raise ConnectionLost(f"The call to {self.connection.target} was broken off.") from None
        except ValueError as failure:
            if self.closed:
                raise ClientClosed from failure
            raise

    def _meaning(self, failure: grpc.RpcError) -> HerdbookError:
        error = error_of(failure, target=self.connection.target)
        if self.closed:
            return ClientClosed()
        if isinstance(error, DeadlineExceeded):
            return DeadlineExceeded(
                f"No answer from {self.connection.target} came in time.", details=error.details
            )
        if isinstance(error, Cancelled):
            return ConnectionLost(f"The call to {self.connection.target} was broken off.")
        return error

    def channel(self) -> grpc.Channel:
        """Returns the channel, opened by the first call.

        Raises:
            ClientClosed: It is closed.
            ForkedProcess: The process has forked since the first call.
        """
        # Before the lock, which is never released in a child that is forked while it is held.
        self._process = self._process or os.getpid()
        if os.getpid() != self._process:
            raise ForkedProcess
        with self._lock:
            if self.closed:
                raise ClientClosed
            if self._channel is None:
                self._channel = open_channel(self.connection)
            return self._channel
