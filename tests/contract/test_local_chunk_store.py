"""The local chunk store keeps the contract, and looks after its directory."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from herdbook_server.ports.chunks import ChunkDamaged, ChunkMissing, StoreUnavailable
from herdbook_server.storage.chunks import local
from herdbook_server.storage.chunks.local import LocalChunkStore
from tests.contract.chunk_store_suite import ChunkStoreTests, chunk_of, digest_of, name_of, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from herdbook_server.ports.chunks import ChunkStore

DEADLINE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RawFiles:
    """The files below a directory."""

    root: Path

    def write(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self) -> set[str]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix() for path in files}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "artifacts"


@pytest.fixture
def raw(root: Path) -> RawFiles:
    return RawFiles(root)


@pytest.fixture
async def store(root: Path) -> AsyncIterator[ChunkStore]:
    opened = LocalChunkStore(root)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def neighbour(root: Path) -> AsyncIterator[ChunkStore]:
    opened = LocalChunkStore(root.with_name("neighbour"))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def small_pages(store: ChunkStore, root: Path) -> AsyncIterator[ChunkStore]:
    opened = LocalChunkStore(root, page_size=3)
    yield opened
    await opened.close()


class TestLocalChunkStore(ChunkStoreTests):
    """The contract, kept in a directory."""


async def test_opening_again_keeps_the_chunks(store: ChunkStore) -> None:
    data = chunk_of(10)
    await put(store, digest_of(data), data)
    await store.open()
    assert await store.get(digest_of(data), 10) == data


async def test_a_put_makes_a_chunk_young_again(store: ChunkStore, root: Path) -> None:
    data = chunk_of(10)
    await put(store, digest_of(data), data)
    os.utime(root / name_of(data), (0, 0))
    await put(store, digest_of(data), data)
    (stored,) = [chunk async for chunk in store.list_chunks()]
    assert stored.modified_at_us > 0


async def test_opening_deletes_what_a_killed_process_left_long_ago(
    store: ChunkStore, raw: RawFiles, root: Path
) -> None:
    raw.write("tmp/old/chunk", b"half a chunk")
    raw.write("tmp/young/chunk", b"half a chunk that another process may be writing")
    raw.write("tmp/old file", b"half a chunk, by an older release")
    (root / "tmp/old link").symlink_to(root / "tmp/young")
    two_hours_ago = time.time() - 7200
    for name in ("tmp/old", "tmp/old file", "tmp/old link"):
        os.utime(root / name, (two_hours_ago, two_hours_ago), follow_symlinks=False)
    await store.open()
    assert raw.names() == {"tmp/young/chunk"}
    assert not (root / "tmp/old link").is_symlink()


async def test_whatever_is_in_the_place_of_a_chunk_is_deleted(
    store: ChunkStore, root: Path, raw: RawFiles
) -> None:
    (root / name_of(chunk_of(10)) / "occupied").mkdir(parents=True)
    (root / name_of(chunk_of(20))).symlink_to(root)
    assert not await store.delete([digest_of(chunk_of(size)) for size in (10, 20)])
    assert raw.names() == set()
    assert root.is_dir()


async def test_a_lost_directory_of_chunks_is_made_anew(store: ChunkStore, root: Path) -> None:
    data = chunk_of(10)
    (root / name_of(data)).parent.rmdir()
    with pytest.raises(ChunkMissing):
        await store.get(digest_of(data), 10)
    await put(store, digest_of(data), data)
    assert await store.get(digest_of(data), 10) == data


async def test_a_pipe_in_the_place_of_a_chunk_is_damage_and_not_waited_for(
    store: ChunkStore, root: Path
) -> None:
    data = chunk_of(10)
    os.mkfifo(root / name_of(data))
    with pytest.raises(ChunkDamaged):
        await store.get(digest_of(data), 10)
    await put(store, digest_of(data), data)
    assert await store.get(digest_of(data), 10) == data


async def test_a_directory_in_the_place_of_a_chunk_gives_way(store: ChunkStore, root: Path) -> None:
    data = chunk_of(10)
    (root / name_of(data) / "occupied").mkdir(parents=True)
    with pytest.raises(ChunkMissing):
        await store.get(digest_of(data), 10)
    await put(store, digest_of(data), data)
    assert await store.get(digest_of(data), 10) == data


async def test_a_chunk_that_another_process_has_put_there_meanwhile_stays(
    store: ChunkStore, root: Path, raw: RawFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = chunk_of(10)
    place = root / name_of(data)
    place.mkdir(parents=True)
    move_aside = LocalChunkStore._move_directory_aside

    def move_aside_too_late(store: LocalChunkStore, path: str) -> None:
        place.rmdir()
        raw.write(name_of(data), data)
        move_aside(store, path)
        assert raw.read(name_of(data)) == data

    monkeypatch.setattr(LocalChunkStore, "_move_directory_aside", move_aside_too_late)
    await put(store, digest_of(data), data)
    assert await store.get(digest_of(data), 10) == data
    assert raw.names() == {name_of(data)}


async def test_what_is_no_file_is_no_chunk(store: ChunkStore, root: Path) -> None:
    data = chunk_of(10)
    place = root / name_of(data)
    for nowhere in (place.name, "/etc/passwd/x"):
        place.symlink_to(nowhere)
        with pytest.raises(ChunkMissing):
            await store.get(digest_of(data), 10)
        assert [chunk async for chunk in store.list_chunks()] == []
        await put(store, digest_of(data), data)
        assert await store.get(digest_of(data), 10) == data
        place.unlink()


async def test_a_directory_that_is_gone_has_lost_no_chunk(store: ChunkStore, root: Path) -> None:
    data = chunk_of(10)
    await put(store, digest_of(data), data)
    root.rename(root.with_name("unmounted"))
    for call in (
        store.get(digest_of(data), 10),
        put(store, digest_of(data), data),
        store.delete([digest_of(data)]),
        anext(aiter(store.list_chunks())),
        store.check(),
    ):
        with pytest.raises(StoreUnavailable, match=str(root)):
            await call


async def test_closing_does_not_wait_for_a_read_that_hangs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalChunkStore(root, threads=1, close_seconds=0.1)
    await store.open()
    data = chunk_of(10)
    goes_on = threading.Event()

    def hang(path: str, flags: int) -> int:
        goes_on.wait()
        return os.open(path, flags)

    monkeypatch.setattr(local, "_at_once", hang)
    reads = [asyncio.create_task(store.get(digest_of(data), 10)) for _ in range(2)]
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.sleep(0)
            await store.close()
            assert not reads[0].done()
    finally:
        goes_on.set()
    ended = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(error) for error in ended] == [ChunkMissing, asyncio.CancelledError]
