from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import given

from herdbook.cache.contents import copy_chunks, damaged_files, stretches
from herdbook.cache.eviction import ABANDONED_SECONDS, remove_abandoned
from herdbook.cache.good import KEPT_SECONDS, GoodRecords
from herdbook.cache.layout import Layout, write_atomically
from herdbook.cache.manifests import digest_of, encode, read_manifest
from herdbook.core import manifests
from herdbook.core.values import ChunkRef, File, Manifest, Resolution
from herdbook.errors import Cancelled
from herdbook.locks import try_lock, wait_for_lock
from tests.unit.cache.sources import MemorySource

CHUNKS = st.builds(
    ChunkRef, st.binary(min_size=32, max_size=32), st.integers(1, manifests.MAX_CHUNK_BYTES)
)
FILES = st.dictionaries(
    st.text("abcü/-. ", min_size=1, max_size=20), st.lists(CHUNKS, max_size=5), min_size=1
)


@given(FILES)
def test_an_encoded_manifest_has_the_versions_digest_and_reads_back(
    files: dict[str, list[ChunkRef]],
) -> None:
    ordered = sorted(files, key=lambda path: path.encode())
    manifest = Manifest(tuple(File(path, tuple(files[path])) for path in ordered))
    encoded = encode(manifest)
    assert digest_of(encoded) == manifests.digest_of(manifest)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "manifest"
        path.write_bytes(encoded)
        assert read_manifest(path, digest_of(encoded)) == manifest
        path.write_bytes(encoded + b"x")
        assert read_manifest(path, digest_of(encoded)) is None


def test_an_exclusive_lock_waits_for_shared_ones_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with try_lock(path, exclusive=False) as first, try_lock(path, exclusive=False) as second:  # type: ignore[union-attr]
        assert first.held
        assert second.held
        assert try_lock(path, exclusive=True) is None
    with try_lock(path, exclusive=True) as alone:  # type: ignore[union-attr]
        assert try_lock(path, exclusive=False) is None
        alone.release()
        alone.release()
        assert not alone.held


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_neither_keeps_nor_releases_the_locks_of_its_parent(tmp_path: Path) -> None:
    kept, released = (try_lock(tmp_path / name, exclusive=True) for name in ("kept", "released"))
    assert kept is not None
    assert released is not None
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        released.release()
        theirs.send(b"x")
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    try:
        assert ours.recv(1) == b"x"
        assert try_lock(tmp_path / "released", exclusive=True) is None
        kept.release()
        assert try_lock(tmp_path / "kept", exclusive=True) is not None
    finally:
        ours.close()
        os.waitpid(child, 0)


def test_a_lock_on_a_deleted_file_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    deleted = try_lock(path, exclusive=True)
    assert deleted is not None
    genuine = os.open
    opened: list[int] = []

    def open_late(*arguments: object, **named: object) -> int:
        descriptor = genuine(*arguments, **named)  # type: ignore[arg-type]
        if not opened:
            # Between the opening and the locking, whoever held the file deletes it and lets go.
            path.unlink()
            deleted.release()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    lock = try_lock(path, exclusive=True)
    assert lock is not None
    assert len(opened) == 2
    assert try_lock(path, exclusive=True) is None
    lock.release()


def test_waiting_for_a_lock_ends_when_it_is_given_up(tmp_path: Path) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    with try_lock(tmp_path / "lock", exclusive=True), pytest.raises(Cancelled):  # type: ignore[union-attr]
        wait_for_lock(tmp_path / "lock", exclusive=False, cancelled=cancelled)


def test_checking_and_copying_end_when_they_are_given_up(tmp_path: Path) -> None:
    source = MemorySource({"model": bytes(5000)})
    (tmp_path / "model").write_bytes(source.files["model"])
    with pytest.raises(Cancelled):
        damaged_files(source.made.files, tmp_path, cancelled=lambda: True)
    pairs = [(stretch, stretch) for stretch in stretches(source.made.files, tmp_path)]
    with pytest.raises(Cancelled):
        copy_chunks(pairs, cancelled=lambda: True)


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "record", b"old")

    def fail(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_atomically(tmp_path / "record", b"new")
    assert (tmp_path / "record").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_only_old_temporary_files_are_abandoned(tmp_path: Path) -> None:
    for name in (".old", ".new", "kept"):
        (tmp_path / name).write_bytes(b"")
    long_ago = time.time() - ABANDONED_SECONDS - 60
    os.utime(tmp_path / ".old", (long_ago, long_ago))
    os.utime(tmp_path / "kept", (long_ago, long_ago))
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new", "kept"]


def test_a_record_that_nobody_renews_no_longer_keeps_its_version(tmp_path: Path) -> None:
    records = GoodRecords(Layout(tmp_path))
    records.remember("here:1", "m@champion", Resolution("m", 1, f"sha256:{1:064x}"))
    records.remember("here:1", "m@challenger", Resolution("m", 2, f"sha256:{2:064x}"))
    long_ago = time.time() - KEPT_SECONDS - 60
    os.utime(Layout(tmp_path).record("here:1", "m@champion"), (long_ago, long_ago))
    assert records.digest_names() == {f"{2:064x}"}
    assert records.recall("here:1", "m@champion") is not None
