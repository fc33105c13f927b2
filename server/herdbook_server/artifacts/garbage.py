"""Garbage collection: chunks that no version lists go, some time after they were last touched."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from herdbook_server.artifacts.store_errors import translated
from herdbook_server.ports.chunks import ChunkStore
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database

GRACE_SECONDS = 24 * 60 * 60.0
"""How long a chunk is spared after it was last touched."""

AT_ONCE = 500
"""Chunks, or manifests, that one transaction handles."""

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection found."""

    chunk_count: int
    size_bytes: int
    deleted: bool


class GarbageCollector:
    """Deletes what no version lists.

    Safe beside pushes: the index lets go of a chunk before its bytes go, and a push waits for that.
    """

    def __init__(
        self,
        *,
        database: Database,
        chunks: ChunkStore,
        clock: Clock,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._database = database
        self._chunks = chunks
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._running = asyncio.Lock()

    async def collect(self, *, apply: bool, grace_seconds: float | None = None) -> Collected:
        """Count garbage, and delete it if asked to.

        A grace time shorter than the one that is set is of no effect. After an error some is
        deleted and the next run goes on.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        grace = max(self._grace_seconds, grace_seconds or 0.0)
        before_us = max(0, self._clock.now_us() - int(grace * _MICROSECONDS))
        if not apply:
            async with self._database.read() as records:
                chunk_count, size_bytes = await records.chunks.garbage_total(before_us)
            return Collected(chunk_count, size_bytes, deleted=False)
        async with self._running:
            return await self._delete_all(before_us)

    async def _delete_all(self, before_us: int) -> Collected:
        while await self._delete_manifests(before_us):
            pass
        chunk_count = size_bytes = 0
        while sizes := await self._delete_chunks(before_us):
            chunk_count += len(sizes)
            size_bytes += sum(sizes)
        return Collected(chunk_count, size_bytes, deleted=True)

    async def _delete_manifests(self, before_us: int) -> int:
        async with self._database.bookkeep() as records:
            return await records.manifests.delete_unused(before_us, limit=AT_ONCE)

    async def _delete_chunks(self, before_us: int) -> list[int]:
        """Delete some chunks; returns their sizes."""
        async with self._database.read() as records:
            found = await records.chunks.garbage(before_us, limit=AT_ONCE)
        async with self._database.bookkeep() as records:
            condemned = await records.chunks.condemn(
                [chunk.digest for chunk in found], before_us=before_us
            )
        if not condemned:
            return []
        digests = [chunk.digest for chunk in condemned]
        with translated():
            await self._chunks.delete(digests)
        async with self._database.bookkeep() as records:
            await records.chunks.forget(digests)
        return [chunk.size_bytes for chunk in condemned]
