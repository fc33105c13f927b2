"""Uploads store what is sound, say what is not, and hold little in memory."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from herdbook_server import errors
from herdbook_server.artifacts import admission, pipeline
from herdbook_server.artifacts.limits import CHUNK_MAX_BYTES
from herdbook_server.artifacts.uploads import Uploads
from herdbook_server.ports import chunks as port
from tests.support.waiting import eventually
from tests.unit.artifacts.memory import FixedClock, MemoryIndex, MemoryStore

MIB = 1024 * 1024
MODEL = "fraud/tc"


class Barn:
    """Uploads, and what they rest on."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.index = MemoryIndex()
        self.uploads = Uploads(database=self.index, chunks=self.store, clock=FixedClock())


@pytest.fixture
async def barn() -> Barn:
    return Barn()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def chunk(number: int, size_bytes: int = 1000) -> tuple[bytes, bytes]:
    """A chunk like no other, with its digest."""
    data = number.to_bytes(4, "big") + bytes(size_bytes - 4)
    return sha256(data), data


async def batches(
    *given: Sequence[tuple[bytes, bytes]],
) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    for batch in given:
        yield list(batch)


async def pieces(given: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def test_what_is_uploaded_is_stored_and_known_to_the_model(barn: Barn) -> None:
    chunks = [chunk(number) for number in range(1000)]
    received = await barn.uploads.upload(MODEL, batches(chunks[:700], [], chunks[700:]))
    assert (received.chunk_count, received.size_bytes) == (1000, 1_000_000)
    assert barn.store.chunks == dict(chunks)
    assert barn.index.known == {(MODEL, digest) for digest, _ in chunks}


async def test_a_chunk_that_is_stored_already_is_not_stored_again(barn: Barn) -> None:
    digest, data = chunk(1)
    barn.index.stored.add(digest)
    await barn.uploads.upload(MODEL, batches([(digest, data)] * 3))
    assert not barn.store.chunks
    assert (MODEL, digest) in barn.index.known


async def test_a_chunk_with_other_bytes_is_refused_and_those_before_it_stay(barn: Barn) -> None:
    sound, other = chunk(1), chunk(2)
    wrong = (other[0], b"something else")
    with pytest.raises(errors.ChunkMismatch) as caught:
        await barn.uploads.upload(MODEL, batches([sound, wrong, chunk(3)]))
    assert other[0].hex() in caught.value.message
    assert sha256(b"something else").hex() in caught.value.message
    assert list(barn.store.chunks) == [sound[0]]
    assert barn.index.known == {(MODEL, sound[0])}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ((b"short", b"moo"), errors.FieldInvalid),
        ((sha256(b""), b""), errors.ChunkTooLarge),
        ((sha256(bytes(2 * MIB + 1)), bytes(2 * MIB + 1)), errors.ChunkTooLarge),
    ],
)
async def test_what_is_no_chunk_is_refused_and_those_before_it_stay(
    barn: Barn, bad: tuple[bytes, bytes], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await barn.uploads.upload(MODEL, batches([chunk(1), bad]))
    assert list(barn.store.chunks) == [chunk(1)[0]]


async def test_an_upload_waits_for_garbage_collection_to_finish_with_a_chunk(barn: Barn) -> None:
    digest, data = chunk(1)
    barn.index.deleting.add(digest)
    uploading = asyncio.create_task(barn.uploads.upload(MODEL, batches([(digest, data), chunk(2)])))
    await eventually(lambda: barn.index.refused, "the upload met the chunk being deleted")
    assert digest not in barn.store.chunks
    barn.index.deleting.clear()
    await uploading
    assert barn.store.chunks[digest] == data


async def test_a_deletion_that_never_ends_ends_the_upload(barn: Barn, monkeypatch) -> None:
    monkeypatch.setattr(admission, "_DELETION_POLLS", 2)
    barn.index.deleting.add(chunk(1)[0])
    with pytest.raises(errors.StoreUnavailable):
        await barn.uploads.upload(MODEL, batches([chunk(1)]))
    assert not barn.index.known


async def test_a_chunk_that_could_not_be_stored_is_known_to_nobody(barn: Barn) -> None:
    barn.store.failures[chunk(2)[0]] = port.StoreFull("/barn has no room.")
    with pytest.raises(errors.StoreFull) as caught:
        await barn.uploads.upload(MODEL, batches([chunk(1), chunk(2)]))
    assert "/barn" not in caught.value.message
    assert barn.index.known == {(MODEL, chunk(1)[0])}


async def test_a_slow_store_holds_up_the_sender_and_not_memory(barn: Barn) -> None:
    barn.store.gate.clear()
    taken = 0

    async def endless() -> AsyncIterator[list[tuple[bytes, bytes]]]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield [chunk(number, CHUNK_MAX_BYTES)]

    uploading = asyncio.create_task(barn.uploads.upload(MODEL, endless()))
    most = pipeline.GROUP_MAX_BYTES * pipeline.GROUPS_IN_FLIGHT
    await eventually(lambda: barn.store.bytes_in_hand == most, "the store has all it may get")
    group = pipeline.GROUP_MAX_BYTES // CHUNK_MAX_BYTES
    await eventually(
        lambda: taken == group * (pipeline.GROUPS_IN_FLIGHT + 1), "one more group is ready"
    )
    barn.store.gate.set()
    received = await uploading
    assert received.chunk_count == 200
    assert barn.store.most_bytes_in_hand <= most


async def test_many_uploads_share_one_bound(barn: Barn) -> None:
    barn.store.gate.clear()
    many = 3 * pipeline.GROUPS_IN_FLIGHT_IN_ALL
    uploads = [
        asyncio.create_task(barn.uploads.upload(MODEL, batches([chunk(number)])))
        for number in range(many)
    ]
    in_hand = pipeline.GROUPS_IN_FLIGHT_IN_ALL * 1000
    await eventually(lambda: barn.store.bytes_in_hand == in_hand, "as many as may are stored")
    barn.store.gate.set()
    await asyncio.gather(*uploads)
    assert barn.store.most_bytes_in_hand == in_hand
    assert len(barn.store.chunks) == many


async def test_many_stalled_uploads_gather_little_and_hold_up_nobody(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "GATHERED_MAX_BYTES", 10_000)
    stalled = asyncio.Event()

    async def stalling(first: int) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        yield [chunk(number) for number in range(first, first + 3)]
        await stalled.wait()

    uploads = [
        asyncio.create_task(barn.uploads.upload(MODEL, stalling(100 * number)))
        for number in range(20)
    ]
    await eventually(lambda: len(barn.store.chunks) >= 60 - 10, "what is too much is stored")
    await barn.uploads.upload(MODEL, batches([chunk(9000 + number) for number in range(30)]))
    assert all(chunk(9000 + number)[0] in barn.store.chunks for number in range(30))
    stalled.set()
    await asyncio.gather(*uploads)
    assert len(barn.store.chunks) == 90
    assert not barn.uploads._storing._gathered_bytes


async def test_uploads_that_wait_for_their_turn_hold_one_group_each(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "GROUPS_IN_FLIGHT_IN_ALL", 1)
    barn = Barn()
    barn.store.gate.clear()
    taken = 0

    async def endless() -> AsyncIterator[list[tuple[bytes, bytes]]]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield [chunk(number, CHUNK_MAX_BYTES)]

    uploads = [asyncio.create_task(barn.uploads.upload(MODEL, endless())) for _ in range(3)]
    group = pipeline.GROUP_MAX_BYTES // CHUNK_MAX_BYTES
    await eventually(lambda: taken == 4 * group, "one group is stored, and each has the next")
    for _ in range(100):
        await asyncio.sleep(0)
    assert taken == 4 * group
    for uploading in uploads:
        uploading.cancel()
    await asyncio.gather(*uploads, return_exceptions=True)
    barn.store.gate.set()
    await eventually(lambda: not barn.uploads._storing._gathered_bytes, "all is stored")
    await barn.uploads.upload(MODEL, batches([chunk(1)]))


async def cancelled_upload(barn: Barn) -> list[tuple[bytes, bytes]]:
    """Cancel an upload in the middle; return what it brought."""
    barn.store.gate.clear()
    brought = [chunk(number, CHUNK_MAX_BYTES) for number in range(6)]

    async def broken() -> AsyncIterator[list[tuple[bytes, bytes]]]:
        yield brought
        await asyncio.Event().wait()

    uploading = asyncio.create_task(barn.uploads.upload(MODEL, broken()))
    await eventually(lambda: barn.store.bytes_in_hand, "something is being stored")
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    return brought


async def test_what_an_upload_brought_before_it_broke_is_stored(barn: Barn) -> None:
    brought = await cancelled_upload(barn)
    barn.store.gate.set()
    digests = [digest for digest, _ in brought]
    await eventually(lambda: barn.store.chunks.keys() >= set(digests), "all is stored")
    await barn.uploads.close()
    assert await barn.uploads.find_missing(MODEL, digests) == []


async def test_an_upload_that_breaks_while_it_waits_for_the_store_loses_and_leaks_nothing(
    barn: Barn,
) -> None:
    barn.store.gate.clear()
    group = pipeline.GROUP_MAX_BYTES // CHUNK_MAX_BYTES
    brought = [chunk(number, CHUNK_MAX_BYTES) for number in range(3 * group)]
    uploading = asyncio.create_task(barn.uploads.upload(MODEL, batches(brought)))
    full = (pipeline.GROUPS_IN_FLIGHT + 1) * pipeline.GROUP_MAX_BYTES
    await eventually(
        lambda: barn.store.bytes_in_hand + barn.uploads._storing._gathered_bytes >= full,
        "it waits for the oldest group",
    )
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    barn.store.gate.set()
    digests = [digest for digest, _ in brought]
    await eventually(lambda: barn.store.chunks.keys() >= set(digests), "all is stored")
    await barn.uploads.close()
    assert not barn.uploads._storing._gathered_bytes


async def test_a_server_that_stops_does_not_wait_for_what_broken_uploads_left(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "CLOSE_SECONDS", 0)
    await cancelled_upload(barn)
    await barn.uploads.close()
    assert barn.store.bytes_in_hand == 0
    assert not barn.index.known


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [1],
        [CHUNK_MAX_BYTES],
        [CHUNK_MAX_BYTES - 1, 1],
        [CHUNK_MAX_BYTES + 1],
        [1, CHUNK_MAX_BYTES, 1],
        [5 * CHUNK_MAX_BYTES + 7, 0, 3],
        [100_000] * 100,
    ],
)
async def test_a_written_file_is_its_bytes_however_they_come(barn: Barn, sizes: list[int]) -> None:
    data = random.Random(7).randbytes(sum(sizes))
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    file = await barn.uploads.write_file(
        MODEL,
        "model.bin",
        pieces(data[end - size : end] for end, size in zip(ends, sizes, strict=True)),
    )
    assert b"".join(barn.store.chunks[ref.digest] for ref in file.chunks) == data
    assert file.size_bytes == len(data)
    assert all(ref.size_bytes == CHUNK_MAX_BYTES for ref in file.chunks[:-1])
    assert all((MODEL, ref.digest) in barn.index.known for ref in file.chunks)


async def test_a_file_of_too_many_chunks_is_refused(barn: Barn, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "FILE_MAX_CHUNKS", 2)
    await barn.uploads.write_file(MODEL, "two", pieces([bytes(2 * CHUNK_MAX_BYTES)]))
    with pytest.raises(errors.FileTooLarge):
        await barn.uploads.write_file(MODEL, "three", pieces([bytes(2 * CHUNK_MAX_BYTES + 1)]))


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "C:\\x", "a\0b", ""])
async def test_a_file_with_a_bad_path_is_refused_before_a_byte_is_taken(
    barn: Barn, path: str
) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("a byte was taken")
        yield b""

    with pytest.raises(errors.PathInvalid):
        await barn.uploads.write_file(MODEL, path, untouched())


async def test_a_model_with_a_bad_name_gets_nothing(barn: Barn) -> None:
    with pytest.raises(errors.NameInvalid):
        await barn.uploads.upload("no name", batches([chunk(1)]))
    with pytest.raises(errors.NameInvalid):
        await barn.uploads.find_missing("", [])
    assert not barn.store.chunks
