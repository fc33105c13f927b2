"""Chunks from and to S3 by signed requests, past the server."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
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

_REQUEST_SECONDS: Final = 40.0
"""The longest that one request takes; a line that slow is no better past the server."""

_LOOK_SECONDS: Final = 1.0
"""How often to look for requests that take longer."""

_FAILURES: Final = 3
"""After so many requests in a row that failed, none is made for a while."""

_REST_SECONDS: Final = 60.0
_LONGEST_REST_SECONDS: Final = 960.0
_OK: Final = 200


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

    def succeeded(self) -> None:
        """Forgets what failed before."""
        with self._lock:
            self._failures = 0
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

    def fetch(
        self, requests: Mapping[KeyT, SignedRequest], breaks_off: BreaksOff
    ) -> Generator[tuple[KeyT, bytes]]:
        """Yields the chunks that come, as they come; they have yet to be hashed.

        Raises:
            Cancelled: The transfer was given up.
        """
        calls = {key: (request, None) for key, request in requests.items()}
        return self._exchange("GET", self.fetching).answers(calls, breaks_off)

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
        answers = self._exchange("PUT", self.sending).answers(calls, breaks_off)
        with closing(answers):
            for digest, _ in answers:
                yield digest

    def close(self) -> None:
        """Closes the connections; another request would open new ones."""
        self._connections.close()

    def _exchange(self, method: str, patience: Patience) -> Exchange:
        return Exchange(method, patience, self._connections, encrypted=self._is_encrypted)


class Exchange:
    """Requests that are made together."""

    def __init__(
        self, method: str, patience: Patience, connections: Connections, *, encrypted: bool
    ) -> None:
        self._method = method
        self._patience = patience
        self._connections = connections
        self._encrypted = encrypted
        self._under_way = UnderWay()

    def answers(
        self, calls: Mapping[KeyT, tuple[SignedRequest, bytes | None]], breaks_off: BreaksOff
    ) -> Generator[tuple[KeyT, bytes]]:
        """Makes requests, a few at once, and yields the bodies of good answers."""
        left = iter(calls.items())
        futures: dict[Future[bytes | None], KeyT] = {}
        with (
            ThreadPoolExecutor(_THREADS, thread_name_prefix="herdbook-direct") as threads,
            closing(self._under_way),
            breaks_off(self._under_way.close),
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
        # A connection that was kept open may have been closed at the other end.
        for anew in (False, True):
            if not self._patience.is_left:
                return None
            try:
                status, data = self._attempt(request, body, anew=anew)
            except Cancelled:
                return None
            except Unreachable as error:
                self._patience.rest(str(error))
                return None
            except (OSError, ValueError, http.client.HTTPException) as error:
                failure = str(error) or type(error).__name__
                continue
            if status == _OK:
                self._patience.succeeded()
                return data
            failure = f"S3 answered with status {status}"
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
        self, request: SignedRequest, body: bytes | None, *, anew: bool
    ) -> tuple[int, bytes]:
        """Makes a request once; returns the status and the body of the answer."""
        parts = urlsplit(request.url)
        give_up_at = time.monotonic() + _REQUEST_SECONDS
        with self._connections.lend(
            parts, self._under_way, give_up_at=give_up_at, anew=anew
        ) as connection:
            target = f"{parts.path}?{parts.query}"
            connection.request(request.method, target, body, dict(request.headers))
            answer = connection.getresponse()
            data = answer.read(MAX_CHUNK_BYTES + 1)
            if answer.length and len(data) <= MAX_CHUNK_BYTES:
                raise http.client.IncompleteRead(data, answer.length)
            if not answer.isclosed():
                # More than a chunk has: what follows must not be taken for the next answer.
                connection.close()
            return answer.status, data
