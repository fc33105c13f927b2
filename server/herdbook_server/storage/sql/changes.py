"""Waiting for the revision to pass, by wake-ups and by polls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

POLL_SECONDS: Final = 0.25


class Changes:
    """Wakes those that wait for a revision to pass."""

    def __init__(self, read_revision: Callable[[], Awaitable[int]]) -> None:
        self._read_revision = read_revision
        self._newest = 0
        self._woken = asyncio.Event()

    def passed(self, revision: int) -> None:
        """Note that a revision was committed, here or elsewhere."""
        if revision > self._newest:
            self._newest = revision
            self.wake()

    def wake(self) -> None:
        """Let everyone who waits look again."""
        self._woken.set()
        self._woken = asyncio.Event()

    async def wait(self, revision: int, *, timeout_seconds: float) -> None:
        """Return soon after `revision` has passed, or after the timeout."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_seconds
        while self._newest <= revision:
            left = give_up_at - loop.time()
            if left <= 0:
                return
            await self._wake_up(min(left, POLL_SECONDS))
            if self._newest <= revision:
                self.passed(await self._read_revision())

    async def _wake_up(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return
