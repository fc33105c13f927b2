"""How long a transfer goes on through breaks."""

from __future__ import annotations

from typing import Final

from herdbook.core.retrying import IMPATIENCE, Backoff, Contact
from herdbook.errors import DeadlineExceeded, EncryptionMismatch, HerdbookError, Unavailable
from herdbook.transfer.cancellation import CancelToken
from herdbook.transport.jitter import jitter

PATIENCE: Final = Backoff(first_seconds=0.1, longest_seconds=10.0, attempts=13)
"""Attempts of a transfer from or to a server that has answered: about a minute without one."""

_SLOWEST_BYTES_PER_SECOND = 64 * 1024
_PASSING = (Unavailable, DeadlineExceeded)


def stream_timeout_seconds(size_bytes: int, *, timeout_seconds: float) -> float:
    """Returns how long a stream of so many bytes may take on a slow line."""
    return timeout_seconds + size_bytes / _SLOWEST_BYTES_PER_SECOND


class Persistence:
    """How one transfer bears a server that is away; may be used by several threads.

    A server that never answered is given up soon, one that did is waited for.
    """

    def __init__(self, cancel: CancelToken, contact: Contact) -> None:
        self._cancel = cancel
        self._contact = contact

    def answered(self) -> None:
        """Notes that the server is there."""
        self._contact.answered = True

    def attempts(self) -> Attempts:
        """Starts to count for one part of the transfer."""
        return Attempts(self)

    def pause(self, error: HerdbookError, failures: int) -> None:
        """Waits after so many failures in a row.

        Raises:
            Cancelled: The transfer was given up.
            HerdbookError: `error` itself, if another attempt cannot help, or has not helped often.
        """
        self._cancel.check()
        self._contact.refused(error)
        backoff = PATIENCE if self._contact.answered else IMPATIENCE
        if isinstance(error, EncryptionMismatch) or not isinstance(error, _PASSING):
            raise error
        if failures >= backoff.attempts:
            raise error
        self._cancel.wait(backoff.delay_after(error, failures, jitter=jitter()))


class Attempts:
    """Counts failures in a row, and waits between them; may be used by one thread."""

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence
        self._failures = 0

    def progressed(self) -> None:
        """Starts the count anew."""
        self._failures = 0
        self._persistence.answered()

    def failed(self, error: HerdbookError) -> None:
        """Waits for the next attempt.

        Raises:
            Cancelled: The transfer was given up.
            HerdbookError: `error` itself, if another attempt cannot help, or has not helped often.
        """
        self._failures += 1
        self._persistence.pause(error, self._failures)
