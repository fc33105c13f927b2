"""When to try again, and how long to wait before: a schedule without a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from herdbook.errors import Draining, HerdbookError, Overloaded, Unavailable

LONGEST_ASKED_SECONDS: Final = 60.0
"""A server, or something before it, that asks for a longer wait is asked again after this one."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow and are spread, so that clients of one server do not come back together."""

    first_seconds: float = 0.1
    longest_seconds: float = 5.0

    attempts: int = 7
    """How often in a row something may fail before it is given up."""

    def delay_seconds(self, failures: int, *, jitter: float) -> float:
        """Returns the wait after so many failures in a row.

        Args:
            failures: 1 after the first.
            jitter: A random number from 0 to 1.
        """
        # The exponent is bounded: a float overflows where a watch has failed for days.
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 32))
        return longest * (0.5 + 0.5 * jitter)

    def delay_after(self, error: HerdbookError, failures: int, *, jitter: float) -> float:
        """Returns the wait after an error, which is longer if it asks for that, within reason.

        Args:
            error: The last failure.
            failures: How many there were in a row: 1 after the first.
            jitter: A random number from 0 to 1.
        """
        asked_seconds = min(error.details.retry_after_seconds or 0.0, LONGEST_ASKED_SECONDS)
        return max(self.delay_seconds(failures, jitter=jitter), asked_seconds)

    def delay_before_repeating(
        self, error: HerdbookError, failures: int, *, repeatable: bool, jitter: float
    ) -> float | None:
        """Returns the wait before a call is made again, or None if it must not be.

        A call that is not repeatable is made again only if the server refused it unread.
        """
        if not isinstance(error, Unavailable) or failures >= self.attempts:
            return None
        if not repeatable and not isinstance(error, Draining | Overloaded):
            return None
        return self.delay_after(error, failures, jitter=jitter)


IMPATIENCE: Final = Backoff()
"""Attempts to reach a server that never answered: 3 to 6 seconds, then whoever calls is told."""

PATIENCE: Final = Backoff(attempts=10)
"""Attempts to reach a server that has answered: 10 to 21 seconds.

That is longer than gRPC takes to connect again to a server that was away (see `Connection`), so
that the first call after an outage that may be repeated is not refused.
"""


class Contact:
    """Whether a server has ever answered, which all who talk to it share. May be used by threads.

    One that has not is given up soon, for its address may be wrong; one that has is waited for.
    """

    def __init__(self) -> None:
        """Nobody has talked to it yet."""
        self.answered = False

    def patience(self) -> Backoff:
        """Returns how patiently calls are tried again."""
        return PATIENCE if self.answered else IMPATIENCE

    def refused(self, error: HerdbookError) -> None:
        """Takes an error for an answer if the server knew what to say, and was not just away."""
        if error.details.reason and not isinstance(error, Unavailable):
            self.answered = True
