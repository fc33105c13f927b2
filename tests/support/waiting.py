"""Waiting on conditions, with a deadline and without guesses at how long things take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

POLL_SECONDS = 0.01
DEADLINE_SECONDS = 30.0


def wait_until(
    condition: Callable[[], object], what: str, *, deadline_seconds: float = DEADLINE_SECONDS
) -> None:
    """Return as soon as `condition` holds.

    Raises:
        TimeoutError: it does not hold within `deadline_seconds`; the message names `what`.
    """
    give_up_at = time.monotonic() + deadline_seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {deadline_seconds} s: {what}")
        time.sleep(POLL_SECONDS)


async def eventually(
    condition: Callable[[], object], what: str, *, deadline_seconds: float = DEADLINE_SECONDS
) -> None:
    """Return as soon as `condition` holds, letting the event loop run meanwhile.

    Raises:
        TimeoutError: it does not hold within `deadline_seconds`; the message names `what`.
    """
    give_up_at = time.monotonic() + deadline_seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {deadline_seconds} s: {what}")
        await asyncio.sleep(POLL_SECONDS)
