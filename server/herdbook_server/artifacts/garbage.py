"""Garbage collection: chunks that no version lists go, some time after they were last touched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from herdbook_server.artifacts.store_errors import refusal, translated
from herdbook_server.ports.chunks import DELETION_SECONDS, ChunkStore, StoreError, StoreUnavailable
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.direct import DirectAccess
from herdbook_server.ports.values import ChunkRef
from herdbook_server.registry.callers import UPKEEP, Caller
from herdbook_server.registry.retention import Retention

logger = logging.getLogger(__name__)

GRACE_SECONDS = 24 * 60 * 60.0
"""How long a chunk is spared after it was last touched."""

BROUGHT_KEPT_SECONDS = 60 * 60
"""How long what clients bring to the store waits to be confirmed: longer than they may bring it."""

FAILURES_OF_A_STORE = 10
"""If so many deletions fail for now, and none succeeds, the rest can wait."""

FAILURES_TOLD = 5
"""So many are told in the log."""

MANIFESTS_AT_ONCE = 500

CHUNKS_AT_ONCE = 500
"""Chunks whose deletion is one step."""

CHUNKS_FOUND_AT_ONCE = 20_000
"""Finding garbage reads the whole index."""

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection found."""

    chunk_count: int
    size_bytes: int
    deleted: bool
    purged_version_count: int = 0


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
        direct: DirectAccess | None = None,
        retention: Retention | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._database = database
        self._direct = direct
        self._retention = retention or Retention(database=database, clock=clock)
        self._chunks = chunks
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._running = asyncio.Lock()

    async def collect(
        self, *, apply: bool, grace_seconds: float | None = None, caller: Caller = UPKEEP
    ) -> Collected:
        """Count garbage, and delete it if asked to; purge what was deleted long ago before that.

        A grace time shorter than the one that is set is of no effect. After an error all that
        could be deleted is, unless the store seems to be away; the next run goes on.

        Raises:
            StoreUnavailable: The store does not answer, or did not delete something.
        """
        grace = max(self._grace_seconds, grace_seconds or 0.0)
        before_us = max(0, self._clock.now_us() - int(grace * _MICROSECONDS))
        if not apply:
            async with self._database.read() as records:
                chunk_count, size_bytes = await records.chunks.garbage_total(
                    before_us, time_us=self._clock.now_us()
                )
            purged = await self._retention.count()
            return Collected(chunk_count, size_bytes, deleted=False, purged_version_count=purged)
        async with self._running:
            purged = await self._retention.purge(caller)
            return replace(await self._delete_all(before_us), purged_version_count=purged)

    async def _delete_all(self, before_us: int) -> Collected:
        while await self._delete_manifests(before_us):
            pass
        chunk_count = size_bytes = 0
        failures: dict[bytes, StoreError] = {}
        try:
            while found := await self._find(before_us):
                deleted = await self._delete_pages(found, before_us, failures)
                chunk_count += len(deleted)
                size_bytes += sum(chunk.size_bytes for chunk in deleted)
                if not deleted:
                    break
        finally:
            _log(failures)
        await self._discard_brought()
        _raise_first(failures)
        return Collected(chunk_count, size_bytes, deleted=True)

    async def _discard_brought(self) -> None:
        """Delete what clients brought to the store and nobody confirmed, as far as that goes."""
        if self._direct is None:
            return
        before_us = self._clock.now_us() - BROUGHT_KEPT_SECONDS * _MICROSECONDS
        try:
            async with asyncio.timeout(DELETION_SECONDS):
                await self._direct.discard_before(before_us)
        except (StoreError, TimeoutError) as error:
            logger.warning(
                "What clients brought is left for now: %s", str(error) or "it took too long"
            )

    async def _delete_manifests(self, before_us: int) -> int:
        async with self._database.bookkeep() as records:
            return await records.manifests.delete_unused(before_us, limit=MANIFESTS_AT_ONCE)

    async def _find(self, before_us: int) -> list[list[bytes]]:
        """Return digests of garbage, in steps."""
        async with self._database.read() as records:
            found = await records.chunks.garbage(
                before_us, time_us=self._clock.now_us(), limit=CHUNKS_FOUND_AT_ONCE
            )
        digests = [chunk.digest for chunk in found]
        starts = range(0, len(digests), CHUNKS_AT_ONCE)
        return [digests[start : start + CHUNKS_AT_ONCE] for start in starts]

    async def _delete_pages(
        self, pages: Sequence[Sequence[bytes]], before_us: int, failures: dict[bytes, StoreError]
    ) -> list[ChunkRef]:
        """Delete what is still garbage; return what is gone, and note what is not."""
        deleted: list[ChunkRef] = []
        for page in pages:
            gone, left = await self._delete(page, before_us)
            deleted += gone
            failures |= left
            for chunk in gone:
                failures.pop(chunk.digest, None)
            if not gone and _is_away(left):
                break
        return deleted

    async def _delete(
        self, digests: Sequence[bytes], before_us: int
    ) -> tuple[Sequence[ChunkRef], Mapping[bytes, StoreError]]:
        """Delete what is still garbage; return what is gone, and what is not."""
        condemned_at_us = self._clock.now_us()
        condemned: Sequence[ChunkRef] = ()
        with translated(), _in_time():
            async with asyncio.timeout(DELETION_SECONDS):
                async with self._database.bookkeep() as records:
                    condemned = await records.chunks.condemn(
                        digests, before_us=before_us, time_us=condemned_at_us
                    )
                left = await self._chunks.delete([chunk.digest for chunk in condemned])
        gone = [chunk for chunk in condemned if chunk.digest not in left]
        # What may be deleted yet stays condemned until somebody takes it over.
        kept = [digest for digest, why in left.items() if not _may_pass(why)]
        async with self._database.bookkeep() as records:
            await records.chunks.forget(
                [chunk.digest for chunk in gone], condemned_at_us=condemned_at_us
            )
            await records.chunks.spare(kept, condemned_at_us=condemned_at_us, before_us=before_us)
        return gone, left


def _is_away(failures: Mapping[bytes, StoreError]) -> bool:
    """Tell whether it seems to be the store that fails, rather than its chunks."""
    return len(failures) >= FAILURES_OF_A_STORE and all(map(_may_pass, failures.values()))


def _may_pass(failure: StoreError) -> bool:
    return isinstance(failure, StoreUnavailable)


def _log(failures: Mapping[bytes, StoreError]) -> None:
    passing = [failure for failure in failures.values() if _may_pass(failure)]
    refused = [failure for failure in failures.values() if not _may_pass(failure)]
    for some, happened in ((passing, "failed for now"), (refused, "were refused")):
        if some:
            told = " ".join(map(str, some[:FAILURES_TOLD]))
            logger.error("%s deletions of garbage %s: %s", len(some), happened, told)


def _raise_first(failures: Mapping[bytes, StoreError]) -> None:
    for failure in failures.values():
        # What keeps a chunk from being deleted keeps no caller from anything.
        raise refusal(StoreUnavailable(str(failure))) from failure


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise StoreUnavailable("Deleting garbage took too long; what is left can wait.") from error
