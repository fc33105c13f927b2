"""Large requests take turns: decoded, a manifest takes several times its size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from herdbook_server.errors import Overloaded

REQUEST_MAX_BYTES: Final = 2 * 1024 * 1024
"""What a request may have, unless it lists files or states; decoded it takes many times that."""

LARGE_BYTES: Final = 64 * 1024
"""Smaller requests wait for nobody."""

AT_ONCE_BYTES: Final = 24 * 1024 * 1024
"""What may be answered at once, as it came in. Decoded that is about 200 MB; several times as much
where somebody fills it with nothing but empty entries, of which one request is there at a time."""

WAITING_MAX_BYTES: Final = 128 * 1024 * 1024

RETRY_AFTER_SECONDS: Final = 2.0


class LargeRequests:
    """Bounds the memory of large requests over all calls: first come, first served."""

    def __init__(
        self, *, at_once_bytes: int = AT_ONCE_BYTES, waiting_max_bytes: int = WAITING_MAX_BYTES
    ) -> None:
        self._at_once_bytes = at_once_bytes
        self._waiting_max_bytes = waiting_max_bytes
        self._free_bytes = at_once_bytes
        self._waiting_bytes = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def admitted(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait until there is room for a request, and keep it for the length of the block.

        Raises:
            Overloaded: Too much waits already.
        """
        if size_bytes < LARGE_BYTES:
            yield
            return
        taken_bytes = min(size_bytes, self._at_once_bytes)
        await self._wait_for(taken_bytes)
        try:
            yield
        finally:
            self._free_bytes += taken_bytes
            self._freed.set()

    async def _wait_for(self, size_bytes: int) -> None:
        if self._waiting_bytes + size_bytes > self._waiting_max_bytes:
            raise Overloaded(
                "Too many large requests are under way.", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        self._waiting_bytes += size_bytes
        try:
            async with self._turn:
                while self._free_bytes < size_bytes:
                    self._freed.clear()
                    await self._freed.wait()
                self._free_bytes -= size_bytes
        finally:
            self._waiting_bytes -= size_bytes
