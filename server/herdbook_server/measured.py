"""The database and the chunk store, measured: the same ports, with a figure for each call."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from opentelemetry.metrics import Histogram, Meter

from herdbook_server.ports.chunks import ChunkStore, Data, StoredChunk, StoreError
from herdbook_server.ports.database import Database, WriteRecords
from herdbook_server.ports.records import Records

Transaction = TypeVar("Transaction")


class MeasuredDatabase:
    """A database whose transactions are measured from start to commit."""

    def __init__(self, database: Database, meter: Meter) -> None:
        self._database = database
        self._durations = meter.create_histogram(
            "herdbook.database.duration", unit="s", description="How long transactions took"
        )

    @property
    def engine(self) -> str:
        """See `Database.engine`."""
        return self._database.engine

    def read(self) -> AbstractAsyncContextManager[Records]:
        """See `Database.read`."""
        return self._measured("read", self._database.read())

    def write(self) -> AbstractAsyncContextManager[WriteRecords]:
        """See `Database.write`."""
        return self._measured("write", self._database.write())

    def bookkeep(self, *, durable: bool = True) -> AbstractAsyncContextManager[Records]:
        """See `Database.bookkeep`."""
        return self._measured("bookkeep", self._database.bookkeep(durable=durable))

    async def revision(self) -> int:
        """See `Database.revision`."""
        with _measured(self._durations, "revision"):
            return await self._database.revision()

    async def wait_for_change(self, revision: int, *, timeout_seconds: float) -> None:
        """See `Database.wait_for_change`."""
        await self._database.wait_for_change(revision, timeout_seconds=timeout_seconds)

    async def migrate(self) -> int:
        """See `Database.migrate`."""
        return await self._database.migrate()

    async def close(self) -> None:
        """See `Database.close`."""
        await self._database.close()

    @asynccontextmanager
    async def _measured(
        self, kind: str, transaction: AbstractAsyncContextManager[Transaction]
    ) -> AsyncIterator[Transaction]:
        with _measured(self._durations, kind):
            async with transaction as records:
                yield records


class MeasuredChunkStore:
    """A chunk store whose calls are measured, and whose bytes are counted."""

    def __init__(self, chunks: ChunkStore, meter: Meter) -> None:
        self._chunks = chunks
        self._durations = meter.create_histogram(
            "herdbook.chunk_store.duration", unit="s", description="How long calls took"
        )
        self._bytes = meter.create_counter(
            "herdbook.chunk_store.bytes", unit="By", description="Bytes of chunks moved"
        )

    async def open(self) -> None:
        """See `ChunkStore.open`."""
        await self._chunks.open()

    async def put(self, chunks: Mapping[bytes, Data]) -> Mapping[bytes, StoreError]:
        """See `ChunkStore.put`."""
        with _measured(self._durations, "put"):
            failures = await self._chunks.put(chunks)
        stored = sum(len(data) for digest, data in chunks.items() if digest not in failures)
        self._bytes.add(stored, {"operation": "put"})
        return failures

    async def get(self, digest: bytes, size_bytes: int) -> bytes:
        """See `ChunkStore.get`."""
        with _measured(self._durations, "get"):
            data = await self._chunks.get(digest, size_bytes)
        self._bytes.add(len(data), {"operation": "get"})
        return data

    async def delete(self, digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        """See `ChunkStore.delete`."""
        with _measured(self._durations, "delete"):
            return await self._chunks.delete(digests)

    def list_chunks(self) -> AsyncGenerator[StoredChunk, None]:
        """See `ChunkStore.list_chunks`."""
        return self._chunks.list_chunks()

    async def check(self) -> None:
        """See `ChunkStore.check`."""
        with _measured(self._durations, "check"):
            await self._chunks.check()

    async def close(self) -> None:
        """See `ChunkStore.close`."""
        await self._chunks.close()


@contextmanager
def _measured(durations: Histogram, operation: str) -> Iterator[None]:
    began = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "ok"
    finally:
        attributes = {"operation": operation, "outcome": outcome}
        durations.record(time.perf_counter() - began, attributes)
