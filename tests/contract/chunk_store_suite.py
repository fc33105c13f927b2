"""What every `ChunkStore` keeps to; each adapter's tests subclass `ChunkStoreTests`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
import tracemalloc
from typing import TYPE_CHECKING, Protocol

import pytest

from herdbook_server.ports.chunks import ChunkDamaged, ChunkMissing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from herdbook_server.ports.chunks import ChunkStore, Data

LARGEST = 2 * 1024 * 1024
CLOCK_TOLERANCE_US = 5_000_000


class RawChunks(Protocol):
    """A store's bytes, read and written without the code under test."""

    def write(self, name: str, data: bytes) -> None:
        """Keep `data` under a name relative to the store's root."""

    def read(self, name: str) -> bytes | None:
        """Return what is kept under the name, None if nothing is."""

    def names(self) -> set[str]:
        """Return every name there is, those of no chunks included."""


async def put(store: ChunkStore, digest: bytes, data: Data) -> None:
    """Store one chunk; raises why it could not be."""
    for failure in (await store.put({digest: data})).values():
        raise failure


class ChunkStoreTests:
    """Subclasses provide the fixtures `store`, `raw`, `neighbour` and `small_pages`.

    `neighbour` is a store of the same kind next to `store`; `small_pages` is `store` once more,
    which lists three chunks at a time.
    """

    @pytest.mark.parametrize("size_bytes", [1, 4096, LARGEST])
    async def test_a_chunk_comes_back_as_it_was_put(
        self, store: ChunkStore, size_bytes: int
    ) -> None:
        data = chunk_of(size_bytes)
        await put(store, digest_of(data), data)
        assert await store.get(digest_of(data), size_bytes) == data

    async def test_many_chunks_may_be_put_together(self, store: ChunkStore, raw: RawChunks) -> None:
        chunks = {digest_of(data): data for data in map(chunk_of, range(1, 300))}
        assert await store.put(chunks) == {}
        assert raw.names() == {name_of(data) for data in chunks.values()}
        for digest, data in chunks.items():
            assert await store.get(digest, len(data)) == data
        assert await store.put({}) == {}

    async def test_a_part_of_a_larger_buffer_can_be_put(self, store: ChunkStore) -> None:
        buffer = chunk_of(300)
        part = memoryview(buffer)[100:200]
        await put(store, digest_of(part), part)
        assert await store.get(digest_of(part), 100) == buffer[100:200]

    async def test_a_chunk_lies_below_its_digest(self, store: ChunkStore, raw: RawChunks) -> None:
        data = chunk_of(10)
        await put(store, digest_of(data), data)
        assert raw.names() == {name_of(data)}
        assert raw.read(name_of(data)) == data

    async def test_a_chunk_that_lies_there_can_be_read(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        data = chunk_of(10)
        raw.write(name_of(data), data)
        assert await store.get(digest_of(data), 10) == data

    async def test_a_second_put_changes_nothing(self, store: ChunkStore, raw: RawChunks) -> None:
        data = chunk_of(10)
        await put(store, digest_of(data), data)
        await put(store, digest_of(data), data)
        assert raw.names() == {name_of(data)}
        assert raw.read(name_of(data)) == data

    async def test_a_second_put_heals_a_damaged_chunk(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        data = chunk_of(10)
        raw.write(name_of(data), data[:5])
        await put(store, digest_of(data), data)
        assert raw.read(name_of(data)) == data

    async def test_many_may_put_the_same_chunk_at_once(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        data = chunk_of(100_000)
        await asyncio.gather(*(put(store, digest_of(data), data) for _ in range(16)))
        assert raw.names() == {name_of(data)}
        assert raw.read(name_of(data)) == data

    async def test_more_calls_than_connections_or_threads_all_succeed(
        self, store: ChunkStore
    ) -> None:
        chunks = [chunk_of(1000, seed=seed) for seed in range(100)]
        await put_all(store, chunks)
        read = await asyncio.gather(*(store.get(digest_of(data), 1000) for data in chunks))
        assert list(read) == chunks

    async def test_nobody_ever_sees_a_part_of_a_chunk(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        data = chunk_of(LARGEST)
        writing = asyncio.create_task(put_and_delete(store, data, times=12))
        seen = set()
        while not writing.done():
            read = await asyncio.to_thread(raw.read, name_of(data))
            seen.add(None if read is None else digest_of(read))
        await writing
        assert seen <= {None, digest_of(data)}

    async def test_a_cancelled_put_leaves_a_whole_chunk_or_none(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        chunks = [chunk_of(LARGEST, seed=seed) for seed in range(8)]
        for yields, data in enumerate(chunks):
            putting = asyncio.create_task(put(store, digest_of(data), data))
            for _ in range(yields):
                await asyncio.sleep(0)
            putting.cancel()
            await asyncio.wait([putting])
        await store.close()
        assert raw.names() <= {name_of(data) for data in chunks}
        assert all(raw.read(name_of(data)) in {None, data} for data in chunks)

    async def test_a_chunk_never_put_is_missing(self, store: ChunkStore) -> None:
        with pytest.raises(ChunkMissing) as caught:
            await store.get(digest_of(b"absent"), 6)
        assert caught.value.digest == digest_of(b"absent")

    async def test_a_deleted_chunk_is_missing(self, store: ChunkStore, raw: RawChunks) -> None:
        data = chunk_of(10)
        await put(store, digest_of(data), data)
        await store.delete([digest_of(data)])
        assert raw.read(name_of(data)) is None
        with pytest.raises(ChunkMissing):
            await store.get(digest_of(data), 10)

    @pytest.mark.parametrize("actual_bytes", [0, 9, 11, LARGEST])
    async def test_a_chunk_of_another_size_is_damaged(
        self, store: ChunkStore, raw: RawChunks, actual_bytes: int
    ) -> None:
        data = chunk_of(10)
        raw.write(name_of(data), chunk_of(actual_bytes))
        with pytest.raises(ChunkDamaged) as caught:
            await store.get(digest_of(data), 10)
        assert caught.value.digest == digest_of(data)
        assert (caught.value.expected_bytes, caught.value.actual_bytes) == (10, actual_bytes)

    async def test_only_the_chunks_named_are_deleted(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        chunks = [chunk_of(10, seed=seed) for seed in range(6)]
        await put_all(store, chunks)
        await store.delete([digest_of(data) for data in chunks[:3]])
        assert raw.names() == {name_of(data) for data in chunks[3:]}

    async def test_absent_chunks_can_be_deleted_in_any_number(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        kept, gone = chunk_of(10, seed=1), chunk_of(10, seed=2)
        await put_all(store, [kept, gone])
        absent = [digest_of(number.to_bytes(4)) for number in range(1100)]
        await store.delete([*absent, digest_of(gone)])
        await store.delete([])
        assert raw.names() == {name_of(kept)}

    async def test_an_empty_store_lists_nothing(self, store: ChunkStore) -> None:
        assert [chunk async for chunk in store.list_chunks()] == []

    async def test_the_listing_tells_size_and_time(self, store: ChunkStore) -> None:
        data = chunk_of(12345)
        before_us = time.time_ns() // 1000
        await put(store, digest_of(data), data)
        (stored,) = [chunk async for chunk in store.list_chunks()]
        assert (stored.digest, stored.size_bytes) == (digest_of(data), 12345)
        assert abs(stored.modified_at_us - before_us) < CLOCK_TOLERANCE_US

    async def test_every_chunk_is_listed_once_over_many_pages(
        self, store: ChunkStore, small_pages: ChunkStore
    ) -> None:
        chunks = [chunk_of(10, seed=seed) for seed in range(10)]
        await put_all(store, chunks)
        listed = [chunk.digest async for chunk in small_pages.list_chunks()]
        assert sorted(listed) == sorted(map(digest_of, chunks))

    async def test_chunks_that_begin_alike_are_listed_over_many_pages(
        self, raw: RawChunks, small_pages: ChunkStore
    ) -> None:
        digests = [bytes([7]) + number.to_bytes(31) for number in range(10)]
        for digest in digests:
            raw.write(name_of_digest(digest), b"x")
        listed = [chunk.digest async for chunk in small_pages.list_chunks()]
        assert sorted(listed) == digests

    async def test_what_is_no_chunk_is_not_listed(self, store: ChunkStore, raw: RawChunks) -> None:
        data = chunk_of(10)
        name = name_of(data)
        await put(store, digest_of(data), data)
        strangers = (f"{name}0", name[:-1], f"chunks/zz/{name[-62:]}", "chunks/README", "README")
        for stranger in strangers:
            raw.write(stranger, b"not a chunk")
        assert [chunk.digest async for chunk in store.list_chunks()] == [digest_of(data)]

    async def test_a_listing_can_be_left_early(self, store: ChunkStore) -> None:
        chunks = [chunk_of(10, seed=seed) for seed in range(4)]
        await put_all(store, chunks)
        for _ in range(50):
            async with contextlib.aclosing(store.list_chunks()) as listing:
                await anext(listing)
        assert len([chunk async for chunk in store.list_chunks()]) == 4

    async def test_chunks_deleted_during_a_listing_do_not_end_it(
        self, store: ChunkStore, raw: RawChunks, small_pages: ChunkStore
    ) -> None:
        digests = [bytes([7]) + number.to_bytes(31) for number in range(10)]
        for digest in digests:
            raw.write(name_of_digest(digest), b"x")
        listed = []
        async for chunk in small_pages.list_chunks():
            listed.append(chunk.digest)
            await store.delete(digests)
        assert len(listed) == 3

    async def test_neighbours_know_nothing_of_each_other(
        self, store: ChunkStore, neighbour: ChunkStore
    ) -> None:
        data = chunk_of(10)
        await put(store, digest_of(data), data)
        with pytest.raises(ChunkMissing):
            await neighbour.get(digest_of(data), 10)
        assert [chunk async for chunk in neighbour.list_chunks()] == []
        await neighbour.delete([digest_of(data)])
        assert await store.get(digest_of(data), 10) == data

    async def test_a_check_passes_and_leaves_nothing(
        self, store: ChunkStore, raw: RawChunks
    ) -> None:
        await asyncio.gather(*(store.check() for _ in range(8)))
        assert raw.names() == set()

    @pytest.mark.parametrize("digest", [b"", b"short", bytes(33)])
    async def test_a_digest_is_32_bytes(
        self, store: ChunkStore, raw: RawChunks, digest: bytes
    ) -> None:
        for call in (put(store, digest, b"x"), store.get(digest, 1), store.delete([digest])):
            with pytest.raises(ValueError, match="32 bytes"):
                await call
        assert raw.names() == set()

    async def test_no_more_than_the_chunk_under_way_is_in_memory(self, store: ChunkStore) -> None:
        chunks = [chunk_of(LARGEST, seed=seed) for seed in range(10)]
        await put_and_get(store, chunks[:1])
        tracemalloc.start()
        try:
            await put_and_get(store, chunks)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 4 * LARGEST


def chunk_of(size_bytes: int, *, seed: int = 0) -> bytes:
    """Return bytes that look random and are the same for the same size and seed."""
    return random.Random(seed).randbytes(size_bytes)


def digest_of(data: bytes | memoryview) -> bytes:
    """Return the name of a chunk."""
    return hashlib.sha256(data).digest()


def name_of(data: bytes) -> str:
    """Return where a chunk must lie below a store's root."""
    return name_of_digest(digest_of(data))


def name_of_digest(digest: bytes) -> str:
    """Return where the chunk of this digest must lie below a store's root."""
    return f"chunks/{digest.hex()[:2]}/{digest.hex()[2:]}"


async def put_all(store: ChunkStore, chunks: Iterable[bytes]) -> None:
    """Put the chunks, all at once."""
    await asyncio.gather(*(put(store, digest_of(data), data) for data in chunks))


async def put_and_get(store: ChunkStore, chunks: Iterable[bytes]) -> None:
    """Put and get the chunks, one after the other."""
    for data in chunks:
        await put(store, digest_of(data), data)
        assert len(await store.get(digest_of(data), len(data))) == len(data)


async def put_and_delete(store: ChunkStore, data: bytes, *, times: int) -> None:
    """Let the chunk come and go."""
    for _ in range(times):
        await put(store, digest_of(data), data)
        await put(store, digest_of(data), data)
        await store.delete([digest_of(data)])
