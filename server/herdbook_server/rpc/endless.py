"""The layer that ends calls without an end of their own when the server drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from herdbook_server.errors import Draining
from herdbook_server.rpc.calls import Call

_ENDLESS = "/ServerReflectionInfo"
"""Lasts until the caller hangs up; watches, which do too, end by themselves with a last word."""


class EndlessCalls:
    """Ends streams of server reflection, which a server that stops would wait for.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._lives: set[asyncio.Timeout] = set()
        self._draining = False

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """End the call with Draining when the server drains."""
        return self._until_draining() if call.method.endswith(_ENDLESS) else nullcontext()

    def drain(self) -> None:
        """End the calls that are open, and refuse new ones."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for life in self._lives:
            life.reschedule(now)

    @asynccontextmanager
    async def _until_draining(self) -> AsyncIterator[None]:
        life = asyncio.timeout(0 if self._draining else None)
        try:
            async with life:
                self._lives.add(life)
                yield
        except TimeoutError:
            if not life.expired():
                raise
            raise Draining("This server is shutting down.", retry_after_seconds=1) from None
        finally:
            self._lives.discard(life)
