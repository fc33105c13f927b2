"""Downloads give out ranges exactly, hold little in memory and let go when nobody listens."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import AsyncExitStack, aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herdbook_server import errors
from herdbook_server.artifacts.downloads import READ_AHEAD, READ_AHEAD_IN_ALL, Downloads
from herdbook_server.artifacts.limits import CHUNK_MAX_BYTES
from herdbook_server.ports.values import ChunkRef, File
from tests.support.waiting import eventually
from tests.unit.artifacts.memory import MemoryIndex, MemoryStore

REFERENCE = "fraud/tc:1"


class Barn:
    """Downloads of one file, and what they rest on."""

    def __init__(self, *chunks: bytes) -> None:
        self.store = MemoryStore()
        self.index = MemoryIndex()
        refs = tuple(ChunkRef(hashlib.sha256(data).digest(), len(data)) for data in chunks)
        self.store.chunks = {ref.digest: data for ref, data in zip(refs, chunks, strict=True)}
        self.index.file_of_all_versions = File("model.bin", refs)
        self.digests = [ref.digest for ref in refs]
        self.downloads = Downloads(database=self.index, chunks=self.store)

    async def read(self, offset: int = 0, limit: int = 0) -> list[bytes]:
        pieces = self.downloads.read_file(REFERENCE, "model.bin", offset=offset, limit=limit)
        return [piece.data async for piece in pieces]


def numbered(count: int, size_bytes: int = 1000) -> list[bytes]:
    return [number.to_bytes(4, "big") + bytes(size_bytes - 4) for number in range(count)]


@given(
    sizes=st.lists(st.integers(1, 9), max_size=8),
    offset=st.integers(0, 80),
    limit=st.integers(0, 80),
)
@settings(deadline=None)
def test_a_range_is_what_slicing_gives(sizes: list[int], offset: int, limit: int) -> None:
    async def check() -> None:
        chunks = [random.Random(index).randbytes(size) for index, size in enumerate(sizes)]
        data = b"".join(chunks)
        barn = Barn(*chunks)
        if offset > len(data):
            with pytest.raises(errors.OffsetOutOfRange):
                await barn.read(offset, limit)
            return
        expected = data[offset : offset + limit] if limit else data[offset:]
        pieces = await barn.read(offset, limit)
        assert b"".join(pieces) == expected
        assert all(pieces) or pieces == [b""]

    asyncio.run(check())


async def test_a_range_fetches_only_the_chunks_that_it_touches() -> None:
    barn = Barn(*numbered(100))
    await barn.read(50_500, 1000)
    assert barn.store.gets == 2


async def test_few_chunks_are_fetched_ahead_of_a_slow_reader() -> None:
    barn = Barn(*numbered(100))
    pieces = barn.downloads.read_file(REFERENCE, "model.bin", offset=0, limit=0)
    async with aclosing(pieces):
        await anext(pieces)
        await anext(pieces)
        assert barn.store.gets <= 2 + READ_AHEAD


async def test_a_reader_that_leaves_ends_the_fetching() -> None:
    barn = Barn(*numbered(100))
    barn.store.gate.clear()
    reading = asyncio.create_task(barn.read())
    await eventually(lambda: barn.store.gets_under_way, "something is being fetched")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert barn.store.gets_under_way == 0


async def test_bytes_that_have_changed_in_the_store_are_not_given_out() -> None:
    barn = Barn(*numbered(3))
    barn.store.chunks[barn.digests[1]] = b"x" * 1000
    pieces = barn.downloads.read_file(REFERENCE, "model.bin", offset=0, limit=0)
    assert (await anext(pieces)).data == numbered(3)[0]
    with pytest.raises(errors.ChunkLost) as caught:
        await anext(pieces)
    assert barn.digests[1].hex() in caught.value.message


async def test_small_chunks_come_in_batches_and_large_ones_alone() -> None:
    small, large = numbered(1000), numbered(2, CHUNK_MAX_BYTES)
    barn = Barn(*small, *large)
    batches = [batch async for batch in barn.downloads.download("m", 1, barn.digests)]
    assert [len(batch) for batch in batches] == [525, 475, 1, 1]
    assert [digest for batch in batches for digest, _ in batch] == barn.digests


async def test_a_chunk_that_is_gone_ends_a_download_after_those_before_it() -> None:
    barn = Barn(*numbered(4, CHUNK_MAX_BYTES))
    del barn.store.chunks[barn.digests[2]]
    batches = barn.downloads.download("m", 1, barn.digests)
    received = [await anext(batches) for _ in range(2)]
    assert [digest for batch in received for digest, _ in batch] == barn.digests[:2]
    with pytest.raises(errors.ChunkLost):
        await anext(batches)


async def test_all_readers_together_hold_little_and_each_of_them_goes_on() -> None:
    readers = 2 * READ_AHEAD_IN_ALL
    barn = Barn(*numbered(10))
    async with AsyncExitStack() as stack:
        slow = []
        for _ in range(readers):
            pieces = barn.downloads.read_file(REFERENCE, "model.bin", offset=0, limit=0)
            slow.append(await stack.enter_async_context(aclosing(pieces)))
            await anext(pieces)
        assert barn.store.gets <= 2 * readers + READ_AHEAD_IN_ALL
        rest = [[piece.data async for piece in pieces] for pieces in slow]
    assert all(data == numbered(10)[1:] for data in rest)
    barn.store.gets = 0
    pieces = barn.downloads.read_file(REFERENCE, "model.bin", offset=0, limit=0)
    async with aclosing(pieces):
        await anext(pieces)
        await eventually(lambda: barn.store.gets == 1 + READ_AHEAD, "read-ahead is possible again")
