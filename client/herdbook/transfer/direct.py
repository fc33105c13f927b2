"""Chunks from and to S3 by signed requests, past the server."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from herdbook.core.manifests import MAX_CHUNK_BYTES
from herdbook.core.operations.artifacts import SignedRequest
from herdbook.errors import Cancelled
from herdbook.transfer.cancellation import CancelToken

KeyT = TypeVar("KeyT")

LEAST_BYTES: Final = 256 * 1024
"""Smaller chunks go through the server, which takes many at once."""

_AT_ONCE: Final = 4
"""Requests of one worker: enough to hide how long each waits for its answer."""

_SECONDS: Final = 30.0
"""The longest silence of the store."""

_FAILURES: Final = 3
"""After so many requests in a row that failed, none is made."""

_ATTEMPTS: Final = 2
"""A connection that was kept open may have been closed at the other end."""

_OK: Final = 200


class Direct:
    """Makes signed requests; may be used by several threads.

    Nothing that fails here is an error: the server carries what this does not.
    """

    def __init__(self, cancel: CancelToken, *, encrypted: bool, offered: bool = False) -> None:
        """Makes none yet.

        Args:
            cancel: Gives up.
            encrypted: Whether to make none that is not: so are the calls to the server.
            offered: Whether the server has signed requests.
        """
        self._cancel = cancel
        self._schemes = {"https"} if encrypted else {"https", "http"}
        self._lock = threading.Lock()
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._failures = 0
        self.offered = offered

    @property
    def usable(self) -> bool:
        """Whether it is worth an attempt."""
        return self.offered and self._failures < _FAILURES

    def give_up(self) -> None:
        """Makes it of no use from now on."""
        self._failures = _FAILURES

    def fetch(self, requests: Mapping[KeyT, SignedRequest]) -> Iterator[tuple[KeyT, bytes]]:
        """Yields the chunks that come, as they come; they have yet to be hashed."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="herdbook-direct") as threads:
            keys = {
                threads.submit(self._answer, "GET", request): key
                for key, request in requests.items()
            }
            for future in as_completed(keys):
                data = future.result()
                if data is not None:
                    yield keys.pop(future), data

    def send(self, requests: Mapping[bytes, SignedRequest], chunks: Mapping[bytes, bytes]) -> None:
        """Sends chunks; which of them arrived the server can tell."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="herdbook-direct") as threads:
            for key, request in requests.items():
                threads.submit(self._answer, "PUT", request, chunks[key])

    def close(self) -> None:
        """Closes the connections."""
        with self._lock:
            connections = [each for idle in self._idle.values() for each in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _answer(
        self, method: str, request: SignedRequest, body: bytes | None = None
    ) -> bytes | None:
        """Makes a request; returns the body of a good answer."""
        for _ in range(_ATTEMPTS):
            if not self.usable or self._cancel.cancelled:
                return None
            with suppress(OSError, ValueError, http.client.HTTPException, Cancelled):
                data = self._attempt(method, request, body)
                if data is not None:
                    self._failures = 0
                    return data
        # Threads may count one too few or too many: it is a rule of thumb.
        self._failures += 1
        return None

    def _attempt(self, method: str, request: SignedRequest, body: bytes | None) -> bytes | None:
        parts = urlsplit(request.url)
        if parts.scheme not in self._schemes:
            return None
        with self._connected(parts) as connection:
            target = f"{parts.path}?{parts.query}"
            connection.request(method, target, body, dict(request.headers))
            answer = connection.getresponse()
            data = answer.read(MAX_CHUNK_BYTES + 1)
            if not answer.isclosed():
                # More than a chunk has: what follows must not be taken for the next answer.
                connection.close()
            return data if answer.status == _OK else None

    @contextmanager
    def _connected(self, parts: SplitResult) -> Iterator[http.client.HTTPConnection]:
        """Lends a connection, which can be used again unless the block raises."""
        origin = f"{parts.scheme}://{parts.netloc}"
        connection = self._take(origin) or _new_connection(parts)
        try:
            with self._cancel.breaks_off(lambda: _break(connection)):
                yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.setdefault(origin, []).append(connection)

    def _take(self, origin: str) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None


def _new_connection(parts: SplitResult) -> http.client.HTTPConnection:
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.netloc, timeout=_SECONDS)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(parts.netloc, timeout=_SECONDS, context=context)


def _break(connection: http.client.HTTPConnection) -> None:
    """Has whoever waits for an answer wait no longer."""
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
