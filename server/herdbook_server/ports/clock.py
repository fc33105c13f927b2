"""Time, as a port, so that tests hold it still."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC; may step when the machine's clock is set."""
        ...
