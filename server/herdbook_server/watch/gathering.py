"""Writes together what comes while another write is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class _Batch(Generic[Item]):
    items: list[Item] = field(default_factory=list)
    written: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Gathering(Generic[Item]):
    """Hands items to a function, one batch after the other. Belongs to one event loop.

    Ten thousand replicas that come back at once are a few transactions instead of as many.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[None]]) -> None:
        self._write = write
        self._turn = asyncio.Lock()
        self._next: _Batch[Item] | None = None
        self._writes: set[asyncio.Task[None]] = set()

    async def write(self, items: Iterable[Item]) -> None:
        """Returns once the items are written, in order; raises what the write of them raised.

        They are written also if the caller is cancelled meanwhile.
        """
        items = list(items)
        if not items:
            return
        batch = self._next
        if batch is None:
            batch = self._next = _Batch()
            # It belongs to no call, so its log lines name none.
            writing = asyncio.create_task(self._write_next(batch), context=Context())
            self._writes.add(writing)
            writing.add_done_callback(self._writes.discard)
        batch.items.extend(items)
        await asyncio.shield(batch.written)

    async def _write_next(self, batch: _Batch[Item]) -> None:
        async with self._turn:
            self._next = None
            try:
                await self._write(batch.items)
            except Exception as error:  # noqa: BLE001 - each caller raises it
                batch.written.set_exception(error)
                # A caller that was cancelled does not ask for it.
                batch.written.exception()
            else:
                batch.written.set_result(None)
