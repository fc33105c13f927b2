"""The local chunk store meets full disks, refused access and sudden death."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from herdbook_server.ports.chunks import (
    ChunkMissing,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)
from herdbook_server.storage.chunks import local, syncing
from herdbook_server.storage.chunks.local import LocalChunkStore
from herdbook_server.storage.chunks.syncing import Syncing
from tests.contract.chunk_store_suite import LARGEST, chunk_of, digest_of, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

DATA = chunk_of(LARGEST)
DIGEST = digest_of(DATA)
DEADLINE_SECONDS = 30
WRITER = Path(__file__).with_name("chunk_writer.py")


@pytest.fixture(params=[True, False], ids=["synced at once", "synced one by one"])
async def store(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalChunkStore]:
    monkeypatch.setattr(local, "can_sync_at_once", lambda _: request.param)
    opened = LocalChunkStore(tmp_path)
    await opened.open()
    yield opened
    await opened.close()


@contextlib.contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Make the system refuse to let any file of this process grow further, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_chunk_that_finds_no_room_leaves_nothing(
    store: LocalChunkStore, tmp_path: Path
) -> None:
    with file_size_limit(1024 * 1024), pytest.raises(StoreFull, match=str(tmp_path)):
        await put(store, DIGEST, DATA)
    assert files_below(tmp_path) == []
    with pytest.raises(ChunkMissing):
        await store.get(DIGEST, len(DATA))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreFull),
        (errno.EACCES, StoreMisconfigured),
        (errno.EPERM, StoreMisconfigured),
        (errno.EIO, StoreUnavailable),
        (errno.EMFILE, StoreUnavailable),
    ],
)
async def test_an_error_while_syncing_leaves_nothing(
    store: LocalChunkStore, tmp_path: Path, number: int, expected: type[StoreError]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Syncing, "files", fail)
        for call in (put(store, DIGEST, DATA), store.check()):
            with pytest.raises(expected, match=os.strerror(number)):
                await call
    assert files_below(tmp_path) == []
    await put(store, DIGEST, DATA)
    assert await store.get(DIGEST, len(DATA)) == DATA


async def test_a_file_where_the_directory_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    store = LocalChunkStore(tmp_path / "data")
    with pytest.raises(StoreError, match=str(tmp_path)):
        await store.open()
    await store.close()


async def test_a_deletion_that_was_given_up_deletes_nothing_that_is_put_afterwards(
    store: LocalChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = {digest_of(data): data for data in map(chunk_of, (1000, 2000, 3000))}
    for digest, data in chunks.items():
        await put(store, digest, data)
    hangs, goes_on = hang_in_renaming(monkeypatch)
    first, *others = chunks
    deleting = asyncio.create_task(store.delete(list(chunks)))
    await asyncio.to_thread(hangs.wait)
    deleting.cancel()
    await asyncio.wait({deleting})
    with pytest.raises(StoreUnavailable, match="hangs"):
        await put(store, first, chunks[first])
    for digest in others:
        await put(store, digest, chunks[digest])
    goes_on.set()
    await until_it_can_be_put(store, first, chunks[first])
    for digest, data in chunks.items():
        assert await store.get(digest, len(data)) == data


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
async def test_a_deletion_that_hung_puts_back_what_another_process_has_put(
    store: LocalChunkStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,  # noqa: FBT001
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse_links)
    other = LocalChunkStore(tmp_path)
    await other.open()
    await put(store, DIGEST, DATA)
    hangs, goes_on = hang_in_renaming(monkeypatch)
    deleting = asyncio.create_task(store.delete([DIGEST]))
    await asyncio.to_thread(hangs.wait)
    deleting.cancel()
    await asyncio.wait({deleting})
    await put(other, DIGEST, DATA)
    goes_on.set()
    await store.close()
    assert await other.get(DIGEST, len(DATA)) == DATA
    assert files_below(tmp_path / "tmp") == []
    await other.close()


async def test_a_process_that_was_stopped_deletes_nothing_that_others_have_put_meanwhile(
    store: LocalChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, DIGEST, DATA)
    monkeypatch.setattr(local, "DELETION_SECONDS", 0.05)
    rename = Path.rename

    def stop_before(path: Path, target: Path) -> Path:
        time.sleep(0.1)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stop_before)
    failures = await store.delete([DIGEST, digest_of(b"another")])
    assert [type(failure) for failure in failures.values()] == [StoreUnavailable] * 2
    assert await store.get(DIGEST, len(DATA)) == DATA


def refuse_links(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def hang_in_renaming(patch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Return what is set once a deletion hangs, and what lets it go on."""
    hangs, goes_on = threading.Event(), threading.Event()
    rename = Path.rename

    def hang(path: Path, target: Path) -> Path:
        hangs.set()
        goes_on.wait()
        return rename(path, target)

    patch.setattr(Path, "rename", hang)
    return hangs, goes_on


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EISDIR, StoreMisconfigured),
        (errno.ENOTDIR, StoreMisconfigured),
        (errno.EROFS, StoreFull),
        (errno.EIO, StoreUnavailable),
        (errno.ETIMEDOUT, StoreUnavailable),
    ],
    ids=errno.errorcode.get,
)
async def test_what_the_system_does_not_delete_is_told_and_holds_up_no_other(
    store: LocalChunkStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    others = [digest_of(data) for data in (b"1", b"2")]
    for data in (b"1", DATA, b"2"):
        await put(store, digest_of(data), data)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == DIGEST.hex()[2:]:
            raise OSError(number, os.strerror(number), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    failures = await store.delete([others[0], DIGEST, others[1]])
    assert {digest: type(failure) for digest, failure in failures.items()} == {DIGEST: kind}
    assert [chunk.digest async for chunk in store.list_chunks()] == [DIGEST]


async def test_a_directory_that_cannot_be_looked_at_is_an_error_of_the_store(
    store: LocalChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(StoreMisconfigured):
        await store.delete([DIGEST])


async def until_it_can_be_put(store: LocalChunkStore, digest: bytes, data: bytes) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await put(store, digest, data)
            except StoreUnavailable:
                await asyncio.sleep(0)


async def test_a_put_is_on_disk_before_it_has_a_name(
    store: LocalChunkStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    chunk = tmp_path / "chunks" / DIGEST.hex()[:2] / DIGEST.hex()[2:]

    def noting(sync: Callable[..., None]) -> Callable[..., None]:
        def note(*arguments: object) -> None:
            sync(*arguments)
            steps.append("named" if chunk.exists() else "nameless")

        return note

    for sync in ("sync_file_system", "_sync"):
        monkeypatch.setattr(syncing, sync, noting(getattr(syncing, sync)))
    await put(store, DIGEST, DATA)
    # At once: the file system, and one of the files or directories.
    syncs = 2 if store._syncs_at_once else 1
    assert steps == ["nameless"] * syncs + ["named"] * syncs


async def test_a_file_system_that_failed_and_says_nothing_at_syncfs_is_found_out(
    store: LocalChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(syncing, "_sync", fail)
    with pytest.raises(StoreFull, match="Read-only"):
        await put(store, DIGEST, DATA)
    with pytest.raises(ChunkMissing):
        await store.get(DIGEST, len(DATA))


async def test_chunks_that_find_no_room_do_not_hold_up_others(
    store: LocalChunkStore, tmp_path: Path
) -> None:
    small = {digest_of(data): data for data in map(chunk_of, (1, 500, 1000))}
    with file_size_limit(1024 * 1024):
        failures = await store.put({**small, DIGEST: DATA})
    assert [(digest, type(failure)) for digest, failure in failures.items()] == [
        (DIGEST, StoreFull)
    ]
    for digest, data in small.items():
        assert await store.get(digest, len(data)) == data
    assert len(files_below(tmp_path)) == len(small)


async def test_a_killed_writer_leaves_only_whole_chunks(tmp_path: Path) -> None:
    for _ in range(3):
        held = digests_held_by_killed_writer(tmp_path, chunks=15)
        names = {path.parent.name + path.name: path for path in (tmp_path / "chunks").glob("*/*")}
        assert held <= names.keys()
        for name, path in names.items():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == name


def digests_held_by_killed_writer(root: Path, *, chunks: int) -> set[str]:
    """Run a writer until it says that it has put so many chunks, kill it, return all it said."""
    process = subprocess.Popen([sys.executable, WRITER, root], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        said = [output.readline() for _ in range(chunks)]
        process.kill()
        process.wait()
        said += [line for line in output if line.endswith(b"\n")]
    assert all(said)
    return {line.decode().strip() for line in said}


def files_below(root: Path) -> list[Path]:
    """Return every file in the store's directory."""
    return [path for path in root.rglob("*") if path.is_file()]
