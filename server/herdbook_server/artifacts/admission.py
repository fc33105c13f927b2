"""How chunks become known to a model: reserved first, stored then, committed last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias

from herdbook_server.artifacts.store_errors import translated
from herdbook_server.errors import StoreUnavailable
from herdbook_server.ports.chunks import StoreError
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.values import ChunkRef

DELETION_RETRY_SECONDS: Final = 30.0
"""Collection that was killed holds on to what it was to delete for five minutes."""

_DELETION_POLL_SECONDS = 0.05
_DELETION_POLLS = 200

Put: TypeAlias = Callable[[Collection[bytes]], Awaitable[Mapping[bytes, StoreError]]]
"""Makes the chunks with these digests durable; returns those that failed, and why."""


class Admission:
    """Makes chunks known to models, beside garbage collection."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def admit(self, model: str, refs: Collection[ChunkRef], put: Put) -> None:
        """Have stored what is not, and make all known to the model.

        Raises:
            StoreFull, StoreUnavailable: Not all could be stored; those that could be are known.
        """
        waiting = refs
        for _ in range(_DELETION_POLLS):
            waiting = await self._admit_possible(model, waiting, put)
            if not waiting:
                return
            await asyncio.sleep(_DELETION_POLL_SECONDS)
        raise StoreUnavailable(
            "Garbage collection is still deleting what is uploaded here.",
            retry_after_seconds=DELETION_RETRY_SECONDS,
        )

    async def _admit_possible(
        self, model: str, refs: Collection[ChunkRef], put: Put
    ) -> list[ChunkRef]:
        """Admit what may be written now, and return what is being deleted by garbage collection."""
        async with self._database.bookkeep() as records:
            reserved = await records.chunks.reserve(list(refs), time_us=self._clock.now_us())
        new = {ref.digest for ref in refs if reserved.get(ref.digest) is False}
        failures = await put(new) if new else {}
        await self._commit(model, [digest for digest in reserved if digest not in failures])
        for failure in failures.values():
            with translated():
                raise failure
        return [ref for ref in refs if ref.digest not in reserved]

    async def _commit(self, model: str, digests: Sequence[bytes]) -> None:
        if digests:
            # A version that lists them is registered by a write that makes this durable as well.
            async with self._database.bookkeep(durable=False) as records:
                await records.chunks.commit(model, digests, time_us=self._clock.now_us())
