"""Chunks from and to S3 by signed requests, past the server."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from herdbook.core.manifests import MAX_CHUNK_BYTES
from herdbook.core.operations.artifacts import SignedRequest
from herdbook.errors import Cancelled
from herdbook.transport.caller import BreaksOff
from herdbook.transport.connection import Connection

KeyT = TypeVar("KeyT")

LEAST_BYTES: Final = 256 * 1024
"""Smaller chunks go through the server, which takes many at once."""

_log = logging.getLogger("herdbook.transfer")

_AT_ONCE: Final = 4
"""Requests of one worker: enough to hide how long each waits for its answer."""

_PIECE_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 3.0
_SILENCE_SECONDS: Final = 20.0
"""The longest silence of the store."""

_REQUEST_SECONDS: Final = 40.0
"""The longest that one request takes; a line that slow is no better past the server."""

_FAILURES: Final = 3
"""After so many requests in a row that failed, none is made for a while."""

_REST_SECONDS: Final = 60.0
_OK: Final = 200


class Direct:
    """Makes signed requests; may be used by several threads, and by several transfers.

    Nothing that fails here is an error: the server carries what this does not.
    """

    def __init__(self, connection: Connection) -> None:
        """Makes none yet.

        Args:
            connection: To the server. What is encrypted there is encrypted here, and whom it
                trusts is trusted here, too.
        """
        self._tls = connection.tls
        self._wanted = connection.direct
        self._lock = threading.Lock()
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._context: ssl.SSLContext | None = None
        self._failures = 0
        self._rests_until = 0.0

    @property
    def usable(self) -> bool:
        """Whether it is worth an attempt."""
        return self._wanted and time.monotonic() >= self._rests_until

    def rest(self, reason: str) -> None:
        """Makes it of no use for a while."""
        with self._lock:
            if self.usable:
                _log.warning("Chunks go through the server for now: %s", reason)
            self._rests_until = time.monotonic() + _REST_SECONDS
            self._failures = 0

    def fetch(
        self, requests: Mapping[KeyT, SignedRequest], breaks_off: BreaksOff
    ) -> Generator[tuple[KeyT, bytes]]:
        """Yields the chunks that come, as they come; they have yet to be hashed."""
        calls = {key: (request, None) for key, request in requests.items()}
        return self._answers("GET", calls, breaks_off)

    def send(
        self,
        requests: Mapping[bytes, SignedRequest],
        chunks: Mapping[bytes, bytes],
        breaks_off: BreaksOff,
    ) -> Iterator[bytes]:
        """Sends chunks, and yields the digests of those that S3 says it took."""
        calls = {digest: (request, chunks[digest]) for digest, request in requests.items()}
        for digest, _ in self._answers("PUT", calls, breaks_off):
            yield digest

    def close(self) -> None:
        """Closes the connections; another request would open new ones."""
        with self._lock:
            connections = [each for idle in self._idle.values() for each in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _answers(
        self,
        method: str,
        calls: Mapping[KeyT, tuple[SignedRequest, bytes | None]],
        breaks_off: BreaksOff,
    ) -> Generator[tuple[KeyT, bytes]]:
        """Makes some requests at once, and yields the bodies of good answers."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="herdbook-direct") as threads:
            keys = {
                threads.submit(self._answer, method, request, body, breaks_off): key
                for key, (request, body) in calls.items()
            }
            try:
                for future in as_completed(keys):
                    data = future.result()
                    if data is not None:
                        yield keys.pop(future), data
            finally:
                # Whoever consumes this may have failed.
                for future in keys:
                    future.cancel()

    def _answer(
        self, method: str, request: SignedRequest, body: bytes | None, breaks_off: BreaksOff
    ) -> bytes | None:
        """Makes a request; returns the body of a good answer."""
        failure = "it was given up"
        if request.method != method or not _is_harmless(request, encrypted=self._tls is not None):
            self.rest(f"the server signed a request that is not made: {request.method}")
            return None
        # A connection that was kept open may have been closed at the other end.
        for anew in (False, True):
            if not self.usable:
                return None
            try:
                status, data = self._attempt(request, body, breaks_off, anew=anew)
            except Cancelled:
                return None
            except (OSError, ValueError, http.client.HTTPException) as error:
                failure = str(error) or type(error).__name__
                continue
            if status == _OK:
                self._failures = 0
                return data
            failure = f"S3 answered with status {status}"
        # Threads may count one too few or too many: it is a rule of thumb.
        self._failures += 1
        if self._failures >= _FAILURES:
            self.rest(failure)
        return None

    def _attempt(
        self, request: SignedRequest, body: bytes | None, breaks_off: BreaksOff, *, anew: bool
    ) -> tuple[int, bytes]:
        """Makes a request once; returns the status and the body of the answer."""
        parts = urlsplit(request.url)
        give_up_at = time.monotonic() + _REQUEST_SECONDS
        headers = dict(request.headers)
        if body is not None:
            headers["Content-Length"] = str(len(body))
        with self._connected(parts, breaks_off, anew=anew) as connection:
            target = f"{parts.path}?{parts.query}"
            pieces = None if body is None else _pieces(body, give_up_at)
            connection.request(request.method, target, pieces, headers)
            answer = connection.getresponse()
            data = _read(answer, give_up_at)
            if not answer.isclosed():
                # More than a chunk has: what follows must not be taken for the next answer.
                connection.close()
            return answer.status, data

    @contextmanager
    def _connected(
        self, parts: SplitResult, breaks_off: BreaksOff, *, anew: bool
    ) -> Iterator[http.client.HTTPConnection]:
        """Lends a connection, which can be used again unless the block raises."""
        origin = f"{parts.scheme}://{parts.netloc}"
        connection = (None if anew else self._take(origin)) or self._new_connection(parts)
        try:
            with breaks_off(lambda: _break(connection)):
                _connect(connection)
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

    def _new_connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc, timeout=_CONNECT_SECONDS)
        return http.client.HTTPSConnection(
            parts.netloc, timeout=_CONNECT_SECONDS, context=self._trust()
        )

    def _trust(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context()
                if self._tls is not None and self._tls.ca is not None:
                    self._context.load_verify_locations(self._tls.ca)
            return self._context


def _connect(connection: http.client.HTTPConnection) -> None:
    if connection.sock is None:
        connection.connect()
    connection.sock.settimeout(_SILENCE_SECONDS)


def _is_harmless(request: SignedRequest, *, encrypted: bool) -> bool:
    """Whether a request that the server signed may be made from here."""
    scheme = request.url.partition(":")[0]
    return (scheme == "https" or (scheme == "http" and not encrypted)) and all(
        name.lower().startswith("x-amz-") for name in request.headers
    )


def _pieces(body: bytes, give_up_at: float) -> Iterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        _check(give_up_at)
        yield view[start : start + _PIECE_BYTES]


def _read(answer: http.client.HTTPResponse, give_up_at: float) -> bytes:
    """Reads a body, up to a byte more than a chunk has."""
    data = bytearray()
    while len(data) <= MAX_CHUNK_BYTES:
        _check(give_up_at)
        piece = answer.read1(min(_PIECE_BYTES, MAX_CHUNK_BYTES + 1 - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)


def _check(give_up_at: float) -> None:
    if time.monotonic() >= give_up_at:
        raise TimeoutError("S3 is too slow")


def _break(connection: http.client.HTTPConnection) -> None:
    """Has whoever waits for an answer wait no longer."""
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
