"""How long a transfer goes on through breaks."""

from __future__ import annotations

from herdbook.core.retrying import Backoff
from herdbook.errors import DeadlineExceeded, HerdbookError, Unavailable
from herdbook.transfer.cancellation import CancelToken
from herdbook.transport.jitter import jitter

_SLOWEST_BYTES_PER_SECOND = 64 * 1024


def stream_timeout_seconds(size_bytes: int, *, timeout_seconds: float) -> float:
    """Returns how long a stream of so many bytes may take on a slow line."""
    return timeout_seconds + size_bytes / _SLOWEST_BYTES_PER_SECOND


class Persistence:
    """Counts failures in a row, and waits between them; progress starts the count anew."""

    def __init__(self, cancel: CancelToken, *, backoff: Backoff) -> None:
        self._cancel = cancel
        self._backoff = backoff
        self._failures = 0

    def progressed(self) -> None:
        """Starts the count anew."""
        self._failures = 0

    def failed(self, error: HerdbookError) -> None:
        """Waits for the next attempt.

        Raises:
            Cancelled: The transfer was given up.
            HerdbookError: `error` itself, if another attempt cannot help, or has not helped often.
        """
        self._cancel.check()
        self._failures += 1
        if not isinstance(error, Unavailable | DeadlineExceeded):
            raise error
        if self._failures >= self._backoff.attempts:
            raise error
        delay = self._backoff.delay_seconds(self._failures, jitter=jitter())
        self._cancel.wait(max(delay, error.details.retry_after_seconds or 0.0))
