"""Chunks from and to S3 by signed requests, past the server."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from itertools import islice
from typing import Final, TypeVar
from urllib.parse import urlsplit

from herdbook.core.manifests import MAX_CHUNK_BYTES
from herdbook.core.operations.artifacts import SignedRequest
from herdbook.errors import Cancelled
from herdbook.transport.caller import BreaksOff
from herdbook.transport.connection import Connection
from herdbook.transport.direct_connections import Connections, UnderWay, Unreachable

KeyT = TypeVar("KeyT")

LEAST_BYTES: Final = 256 * 1024
"""Smaller chunks go through the server, which takes many at once."""

_log = logging.getLogger("herdbook.transfer")

_THREADS: Final = 4
"""Of one worker: enough to hide how long each request waits for its answer."""

_AT_ONCE: Final = _THREADS + 2
"""Requests under way, and answers that nobody has taken yet."""

_REQUEST_SECONDS: Final = 240.0
"""The longest that one request takes, its repetition included, on a line that many share."""

_PIECE_BYTES: Final = 64 * 1024
"""So much is sent before the store counts as silent."""

_LOOK_SECONDS: Final = 1.0
"""How often to look for requests that take longer."""

_FAILURES: Final = 3
"""After so many requests in a row that failed, none is made for a while."""

_REST_SECONDS: Final = 60.0
_LONGEST_REST_SECONDS: Final = 960.0
_OK: Final = 200
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
"""Statuses that another attempt may not have."""


class Patience:
    """Whether requests of one kind are worth an attempt; one verdict for all threads."""

    def __init__(self, *, wanted: bool) -> None:
        """There is none if they are not wanted."""
        self._lock = threading.Lock()
        self._failures = 0
        self._rests_until = 0.0 if wanted else float("inf")
        self._rest_seconds = _REST_SECONDS

    @property
    def is_left(self) -> bool:
        """Whether they are."""
        return time.monotonic() >= self._rests_until

    def answered(self) -> None:
        """Forgets what failed before."""
        with self._lock:
            self._failures = 0

    def succeeded(self) -> None:
        """Forgets how long the last rest was: what was answered is of use."""
        with self._lock:
            self._rest_seconds = _REST_SECONDS

    def failed(self, reason: str) -> None:
        """Counts a request that failed; a few in a row are enough."""
        with self._lock:
            self._failures += 1
            enough = self._failures >= _FAILURES
        if enough:
            self.rest(reason)

    def rest(self, reason: str) -> None:
        """Ends it for a while, for longer each time."""
        with self._lock:
            if self.is_left:
                _log.warning("Chunks go through the server for now: %s", reason)
                self._rests_until = time.monotonic() + self._rest_seconds
                self._rest_seconds = min(2 * self._rest_seconds, _LONGEST_REST_SECONDS)
            self._failures = 0


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
        self.fetching: Final = Patience(wanted=connection.direct)
        self.sending: Final = Patience(wanted=connection.direct)
        self._is_encrypted = connection.tls is not None
        self._connections = Connections(connection.tls)
        self._lock = threading.Lock()
        self._under_way: set[UnderWay] = set()
        self._closed = False

    def fetch(
        self, requests: Mapping[KeyT, SignedRequest], breaks_off: BreaksOff
    ) -> Generator[tuple[KeyT, bytes]]:
        """Yields the chunks that come, as they come; they have yet to be hashed.

        Raises:
            Cancelled: The transfer was given up.
        """
        calls = {key: (request, None) for key, request in requests.items()}
        return self._answers("GET", self.fetching, calls, breaks_off)

    def send(
        self,
        requests: Mapping[bytes, SignedRequest],
        chunks: Mapping[bytes, bytes],
        breaks_off: BreaksOff,
    ) -> Generator[bytes]:
        """Sends chunks, and yields the digests of those that S3 says it took.

        Raises:
            Cancelled: The transfer was given up.
        """
        calls = {digest: (request, chunks[digest]) for digest, request in requests.items()}
        with closing(self._answers("PUT", self.sending, calls, breaks_off)) as answers:
            for digest, _ in answers:
                yield digest

    def close(self) -> None:
        """Breaks off the requests under way, and closes the connections; none is made anymore."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for each in under_way:
            each.close()
        self._connections.close()

    def _answers(
        self,
        method: str,
        patience: Patience,
        calls: Mapping[KeyT, tuple[SignedRequest, bytes | None]],
        breaks_off: BreaksOff,
    ) -> Generator[tuple[KeyT, bytes]]:
        with self._used() as under_way, breaks_off(under_way.close):
            exchange = Exchange(
                method, patience, self._connections, under_way, encrypted=self._is_encrypted
            )
            yield from exchange.answers(calls)

    @contextmanager
    def _used(self) -> Iterator[UnderWay]:
        """Yields what `close` breaks off, and what is broken off at the end of the block."""
        under_way = UnderWay()
        with self._lock:
            if self._closed:
                under_way.close()
            self._under_way.add(under_way)
        try:
            yield under_way
        finally:
            under_way.close()
            with self._lock:
                self._under_way.discard(under_way)


class Refused(Exception):
    """S3 does not do what was asked."""


class Exchange:
    """Requests that are made together."""

    def __init__(
        self,
        method: str,
        patience: Patience,
        connections: Connections,
        under_way: UnderWay,
        *,
        encrypted: bool,
    ) -> None:
        self._method = method
        self._patience = patience
        self._connections = connections
        self._encrypted = encrypted
        self._under_way = under_way

    def answers(
        self, calls: Mapping[KeyT, tuple[SignedRequest, bytes | None]]
    ) -> Generator[tuple[KeyT, bytes]]:
        """Makes requests, a few at once, and yields the bodies of good answers."""
        left = iter(calls.items())
        futures: dict[Future[bytes | None], KeyT] = {}
        with (
            ThreadPoolExecutor(_THREADS, thread_name_prefix="herdbook-direct") as threads,
            # Whoever consumes this may have failed: nothing is waited for.
            closing(self._under_way),
        ):
            while True:
                for key, (request, body) in islice(left, _AT_ONCE - len(futures)):
                    futures[threads.submit(self._answer, request, body)] = key
                if not futures:
                    return
                done, _ = wait(futures, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
                self._under_way.break_off_late()
                for future in done:
                    key, data = futures.pop(future), future.result()
                    if data is not None:
                        yield key, data

    def _answer(self, request: SignedRequest, body: bytes | None) -> bytes | None:
        """Makes a request; returns the body of a good answer."""
        if not self._is_harmless(request):
            self._patience.rest("the server signed what is not made from here")
            return None
        failure = ""
        give_up_at = time.monotonic() + _REQUEST_SECONDS
        # A connection that was kept open may have been closed at the other end.
        for anew in (False, True):
            if not self._patience.is_left or time.monotonic() >= give_up_at:
                break
            try:
                data = self._attempt(request, body, give_up_at=give_up_at, anew=anew)
            except Cancelled:
                return None
            except Unreachable as error:
                self._patience.rest(str(error))
                return None
            except (TimeoutError, ValueError, Refused) as error:
                failure = str(error) or type(error).__name__
                break
            except (OSError, http.client.HTTPException) as error:
                failure = str(error) or type(error).__name__
            else:
                self._patience.answered()
                return data
        if failure:
            self._patience.failed(failure)
        return None

    def _is_harmless(self, request: SignedRequest) -> bool:
        """Whether a request that the server signed may be made from here."""
        scheme = request.url.partition(":")[0]
        return (
            request.method == self._method
            and (scheme == "https" or (scheme == "http" and not self._encrypted))
            and all(name.lower().startswith("x-amz-") for name in request.headers)
        )

    def _attempt(
        self, request: SignedRequest, body: bytes | None, *, give_up_at: float, anew: bool
    ) -> bytes:
        """Makes a request once; returns the body of a good answer."""
        parts = urlsplit(request.url)
        headers = dict(request.headers)
        if body is not None:
            headers["Content-Length"] = str(len(body))
        with self._connections.lend(
            parts, self._under_way, give_up_at=give_up_at, anew=anew
        ) as connection:
            target = f"{parts.path}?{parts.query}"
            pieces = None if body is None else _pieces(body)
            connection.request(request.method, target, pieces, headers)
            with connection.getresponse() as answer:
                _check_status(answer)
                if body is None:
                    _check_size(answer)
                    return answer.read()
                if answer.length != 0:
                    # What else it says is not read, and is not to be taken for the next answer.
                    connection.close()
                return b""


def _check_status(answer: http.client.HTTPResponse) -> None:
    """Raises for what is no good answer; it stays unread."""
    if answer.status in _PASSING:
        raise http.client.HTTPException(f"S3 answered with status {answer.status}")
    if answer.status != _OK:
        raise Refused(f"S3 answered with status {answer.status}")


def _check_size(answer: http.client.HTTPResponse) -> None:
    """Raises for an answer that could be of any size; it stays unread."""
    if answer.length is None or answer.length > MAX_CHUNK_BYTES:
        raise Refused("S3 gives more than a chunk has, or does not say how much")


def _pieces(body: bytes) -> Iterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]
