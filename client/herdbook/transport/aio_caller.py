"""Makes calls over a channel of the running event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import grpc
from grpc import aio

from herdbook.core.operations.operation import Listing, Operation, PageTokens
from herdbook.core.retrying import Contact
from herdbook.errors import ClientClosed, ConnectionLost, ForkedProcess, HerdbookError
from herdbook.transport.connection import Connection
from herdbook.transport.failures import error_of
from herdbook.transport.jitter import jitter

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")


def open_aio_channel(connection: Connection) -> aio.Channel:
    """Opens a channel for the running event loop; it connects with the first call."""
    credentials = connection.credentials()
    options = connection.channel_options()
    if credentials is None:
        return aio.insecure_channel(connection.target, options)
    return aio.secure_channel(connection.target, credentials, options)


class AioCaller:
    """A channel for each event loop it is used in, the calls over it, and their repetitions."""

    def __init__(self, connection: Connection, contact: Contact | None = None) -> None:
        """Opens nothing yet; see `Caller`."""
        self.connection: Final = connection
        self.contact: Final = contact or Contact()
        self._channels: dict[asyncio.AbstractEventLoop, aio.Channel] = {}
        self._waiters: set[asyncio.Event] = set()
        self._process: int | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    async def wait(self, seconds: float) -> None:
        """Waits, but no longer than until the close."""
        waiter = asyncio.Event()
        self._waiters.add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter.wait()
        finally:
            self._waiters.discard(waiter)

    async def close(self) -> None:
        """Gives up the calls under way and closes the channel; may be called again."""
        self._closed = True
        for waiter in self._waiters:
            waiter.set()
        channel = self._channels.pop(asyncio.get_running_loop(), None)
        self._channels.clear()
        if channel is not None and os.getpid() == self._process:
            await channel.close()

    async def call(self, operation: Operation[ResultT]) -> ResultT:
        """Makes a unary call, again if it broke and may be repeated, within the deadline."""
        request = operation.request.SerializeToString()
        deadline = time.monotonic() + self.connection.timeout_seconds
        failures = 0
        while True:
            try:
                answer = await self._attempt(operation.method, request, deadline)
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
                if delay is None or time.monotonic() + delay >= deadline or self.closed:
                    raise await self.explained(error) from error.__cause__
            await self.wait(delay)

    async def explained(self, error: HerdbookError) -> HerdbookError:
        """Returns what says more about why the server is not reached, or the error itself."""
        if self.contact.answered or self.closed:
            return error
        from herdbook.transport.diagnosis import explained

        return await asyncio.to_thread(explained, error, self.connection)

    async def _attempt(self, method: str, request: bytes, deadline: float) -> bytes:
        with self.translated():
            call: aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel().unary_unary(method)
            return await call(
                request,
                timeout=max(deadline - time.monotonic(), 0.001),
                metadata=self.connection.metadata,
            )

    async def items(self, listing: Listing[ItemT]) -> AsyncIterator[ItemT]:
        """Yields the items of a list; asks for a page when the one before is used up."""
        token, tokens = "", PageTokens()
        while True:
            page = await self.call(listing.page(token))
            for item in page.items:
                yield item
            token = tokens.after(page)
            if not token:
                return

    def download(self, method: str, request: bytes) -> aio.UnaryStreamCall[bytes, bytes]:
        """Starts a call that answers with a stream; who starts it must cancel it in the end."""
        call: aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel().unary_stream(method)
        return call(request, metadata=self.connection.metadata)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns what a channel raises into errors of the tree."""
        try:
            yield
        except grpc.RpcError as failure:
            if self.closed:
                raise ClientClosed from None
            raise error_of(failure, target=self.connection.target) from None
        except aio.UsageError:
            if self.closed:
                raise ClientClosed from None
            raise
        except asyncio.CancelledError:
            # A call that is cancelled looks like a task that is cancelled.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if self.closed:
                raise ClientClosed from None
            raise ConnectionLost(f"The call to {self.connection.target} was broken off.") from None

    def channel(self) -> aio.Channel:
        """Returns the channel of the running event loop, opened by the first call in it.

        Raises:
            ClientClosed: It is closed.
            ForkedProcess: The process has forked since the first call.
        """
        self._process = self._process or os.getpid()
        if os.getpid() != self._process:
            raise ForkedProcess
        if self.closed:
            raise ClientClosed
        loop = asyncio.get_running_loop()
        channel = self._channels.get(loop)
        if channel is None:
            self._forget_ended_loops()
            channel = self._channels[loop] = open_aio_channel(self.connection)
        return channel

    def _forget_ended_loops(self) -> None:
        for loop in [loop for loop in self._channels if loop.is_closed()]:
            del self._channels[loop]
