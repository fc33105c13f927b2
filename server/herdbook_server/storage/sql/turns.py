"""Turns of searches, which leave connections and time to all other reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from herdbook_server.errors import SearchTooLong

SEARCH_SECONDS: Final = 5.0
"""How long one search may run; the wait for its turn does not count."""


class Turns:
    """Lets a few searches run at once, each for a limited time.

    A search may have to look at every row there is. Many of those would take all connections, and
    what resolves references, follows the record and tells whether the server is well would wait.
    """

    def __init__(self, at_once: int, *, limit_seconds: float = SEARCH_SECONDS) -> None:
        self._free = asyncio.Semaphore(at_once)
        self.limit_seconds = limit_seconds
        """After so long, a search is stopped."""

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a turn and keep it for the length of the block.

        Raises:
            SearchTooLong: The block took longer than it may, and was cancelled.
        """
        async with self._free:
            try:
                async with asyncio.timeout(self.limit_seconds):
                    yield
            except TimeoutError:
                raise SearchTooLong(
                    f"The search took more than {self.limit_seconds:g} s: narrow the filter, "
                    "or order by fewer fields."
                ) from None
