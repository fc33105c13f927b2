from __future__ import annotations

import errno
import os
import pwd
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from herdbook.cache import Cache, CacheUnavailable
from herdbook.core.values.artifacts import File, Manifest
from herdbook.core.values.registry import Resolution
from herdbook.errors import (
    Cancelled,
    ChecksumMismatch,
    FieldInvalid,
    HerdbookError,
    LocalDiskFull,
    PathInvalid,
    Unavailable,
)
from tests.unit.cache.sources import MemorySource, Offline

RANDOM = random.Random(7)


def random_bytes(size: int) -> bytes:
    return RANDOM.randbytes(size)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", max_bytes=10**9)


@pytest.fixture
def source() -> MemorySource:
    repeated = random_bytes(1000)
    return MemorySource(
        {
            "model.bin": random_bytes(5500),
            "config/a.json": b"{}",
            "empty": b"",
            "deep/er/twice": repeated * 3,
        }
    )


def contents(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def test_a_version_arrives_whole_and_each_chunk_is_downloaded_once(
    cache: Cache, source: MemorySource
) -> None:
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files
        assert version.downloaded_bytes == 5500 + 2 + 1000
    assert len(source.downloaded) == len(set(source.downloaded))


def test_a_version_in_the_cache_needs_no_registry(cache: Cache, source: MemorySource) -> None:
    cache.acquire(source.digest, source).release()
    with cache.acquire(source.digest, Offline()) as version:
        assert contents(version.path) == source.files
        assert version.downloaded_bytes == 0


def test_files_in_the_cache_are_read_only(cache: Cache, source: MemorySource) -> None:
    with cache.acquire(source.digest, source) as version:
        assert (version.path / "model.bin").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: damage(path / "files/model.bin"),
        lambda path: (path / "files/model.bin").unlink(),
        lambda path: grow(path / "files/deep/er/twice"),
    ],
    ids=["flipped bit", "file gone", "file grown"],
)
def test_damage_is_healed_with_what_was_harmed_and_no_more(
    cache: Cache, source: MemorySource, harm: Callable[[Path], object]
) -> None:
    with cache.acquire(source.digest, source) as version:
        directory = version.path.parent
    for file in directory.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
    source.downloaded.clear()
    harm(directory)
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files
    assert source.downloaded_bytes <= 5500
    with cache.acquire(source.digest, Offline()):
        pass


@pytest.mark.parametrize("stray", ["evil.bin", "deep/evil.bin", "more/deep/evil.bin"])
def test_what_does_not_belong_to_a_version_is_removed_before_it_is_used(
    cache: Cache, source: MemorySource, stray: str
) -> None:
    with cache.acquire(source.digest, source) as version:
        path = version.path / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"code")
        (version.path / "link").symlink_to(version.path)
    with cache.acquire(source.digest, Offline()) as version:
        assert contents(version.path) == source.files
        assert not (version.path / "link").is_symlink()


def test_a_version_with_what_cannot_be_removed_from_it_is_laid_out_anew(
    cache: Cache, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.acquire(source.digest, source) as version:
        foreign = version.path / ".evil"
        foreign.mkdir()
        (foreign / "code.bin").write_bytes(b"code")
    remove = os.unlink

    def refuse_foreign(path: str, **options: int) -> None:
        if Path(path).name == "code.bin":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        remove(path, **options)

    monkeypatch.setattr(os, "unlink", refuse_foreign)
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files
        (aside,) = version.path.parents[1].glob(".*")
    assert contents(aside) == {"files/.evil/code.bin": b"code"}


def test_what_a_repair_has_moved_aside_is_left_to_it_until_it_is_abandoned(
    cache: Cache, source: MemorySource
) -> None:
    with cache.acquire(source.digest, source) as version:
        directory = version.path.parent
    aside = directory.with_name(f".{directory.name}.0a0b0c0d")
    directory.rename(aside)
    assert cache.prune(max_bytes=0) == 0
    assert aside.exists()
    os.utime(aside, (0, 0))
    cache.prune(max_bytes=0)
    assert not aside.exists()


def test_one_flipped_bit_costs_one_chunk(cache: Cache, source: MemorySource) -> None:
    with cache.acquire(source.digest, source) as version:
        damage(version.path / "model.bin")
    source.downloaded.clear()
    with cache.acquire(source.digest, source) as version:
        assert version.downloaded_bytes == 1000


def test_a_repair_leaves_the_file_that_somebody_has_open(
    cache: Cache, source: MemorySource
) -> None:
    with cache.acquire(source.digest, source) as version:
        damage(version.path / "model.bin")
        with (version.path / "model.bin").open("rb") as opened:
            with cache.acquire(source.digest, source):
                assert (version.path / "model.bin").read_bytes() == source.files["model.bin"]
            assert opened.read() != source.files["model.bin"]


def test_damage_that_cannot_be_healed_is_not_served(cache: Cache, source: MemorySource) -> None:
    with cache.acquire(source.digest, source) as version:
        damage(version.path / "model.bin")
    with pytest.raises(Unavailable):
        cache.acquire(source.digest, Offline())


def test_a_damaged_manifest_is_fetched_again(cache: Cache, source: MemorySource) -> None:
    with cache.acquire(source.digest, source) as version:
        damage(version.path.parent / "manifest")
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files
    assert source.manifest_count == 2
    cache.acquire(source.digest, Offline()).release()


def test_a_damaged_manifest_beside_a_damaged_file_is_healed_too(
    cache: Cache, source: MemorySource
) -> None:
    with cache.acquire(source.digest, source) as version:
        damage(version.path.parent / "manifest")
        damage(version.path / "model.bin")
    cache.acquire(source.digest, source).release()
    with cache.acquire(source.digest, Offline()) as version:
        assert contents(version.path) == source.files


def test_an_interrupted_fetch_goes_on_where_it_stopped(cache: Cache, source: MemorySource) -> None:
    source.breaks_after = 4
    with pytest.raises(Unavailable):
        cache.acquire(source.digest, source)
    source.breaks_after = None
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files
    assert len(source.downloaded) == len(set(source.downloaded))
    assert source.manifest_count == 1


def test_a_fetch_cut_off_at_its_very_end_is_finished_by_the_next(
    cache: Cache, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut_off)
        with pytest.raises(KeyboardInterrupt):
            cache.acquire(source.digest, source)
    source.downloaded.clear()
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files
        assert (version.path / "model.bin").stat().st_mode & 0o777 == 0o444
    assert not source.downloaded


def test_another_version_gives_the_chunks_it_shares(cache: Cache, source: MemorySource) -> None:
    cache.acquire(source.digest, source).release()
    changed = bytearray(source.files["model.bin"])
    changed[10] ^= 1
    newer = MemorySource(source.files | {"model.bin": bytes(changed)})
    with cache.acquire(newer.digest, newer) as version:
        assert contents(version.path) == newer.files
        assert version.downloaded_bytes == 1000


def test_a_damaged_chunk_of_another_version_is_not_taken(
    cache: Cache, source: MemorySource
) -> None:
    with cache.acquire(source.digest, source) as version:
        damage(version.path / "model.bin")
    newer = MemorySource(source.files | {"more": b"more"})
    with cache.acquire(newer.digest, newer) as version:
        assert contents(version.path) == newer.files
        assert version.downloaded_bytes == 1000 + 4


def test_loose_chunks_give_what_they_have(cache: Cache, source: MemorySource) -> None:
    for chunk, data in source.stored.items():
        cache.put(chunk.sha256, data)
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files
        assert version.downloaded_bytes == 0


def test_a_manifest_with_another_digest_is_refused(cache: Cache, source: MemorySource) -> None:
    other = MemorySource({"other": b"other"})
    with pytest.raises(ChecksumMismatch):
        cache.acquire(other.digest, source)
    assert not source.downloaded


def test_a_manifest_with_a_path_that_leads_out_is_refused(
    cache: Cache, source: MemorySource, tmp_path: Path
) -> None:
    source.made = Manifest((File("../../../escaped", source.made.files[0].chunks),))
    with pytest.raises(PathInvalid):
        cache.acquire(source.digest, source)
    assert not list(tmp_path.rglob("escaped"))


def test_processes_and_threads_that_want_the_same_version_download_it_once(
    cache: Cache, source: MemorySource
) -> None:
    source.gate.clear()
    outcomes: list[dict[str, bytes]] = []

    def use() -> None:
        with Cache(cache.directory).acquire(source.digest, source) as version:
            outcomes.append(contents(version.path))

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert source.asked.wait(30)
    source.gate.set()
    for thread in threads:
        thread.join(30)
    assert outcomes == [source.files] * 6
    assert len(source.downloaded) == len(set(source.downloaded))
    assert source.manifest_count == 1


def test_waiting_for_another_fetch_can_be_given_up(cache: Cache, source: MemorySource) -> None:
    source.gate.clear()
    fetch = threading.Thread(target=lambda: cache.acquire(source.digest, source).release())
    fetch.start()
    try:
        assert source.asked.wait(30)
        with pytest.raises(Cancelled):
            cache.acquire(source.digest, Offline(), cancelled=lambda: True)
    finally:
        source.gate.set()
        fetch.join(30)


def test_what_was_used_longest_ago_is_evicted_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=340_000)
    sources = [MemorySource({"model": random_bytes(100_000)}) for _ in range(4)]
    for source in sources[:2]:
        cache.acquire(source.digest, source).release()
    cache.acquire(sources[0].digest, Offline()).release()
    for source in sources[2:]:
        cache.acquire(source.digest, source).release()
    assert cache.size_bytes() <= 340_000
    cache.acquire(sources[0].digest, Offline()).release()
    with pytest.raises(Unavailable):
        cache.acquire(sources[1].digest, Offline())


def test_what_was_in_use_until_now_counts_as_used_now(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=340_000)
    sources = [MemorySource({"model": random_bytes(100_000)}) for _ in range(4)]
    with cache.acquire(sources[0].digest, sources[0]):
        for source in sources[1:3]:
            cache.acquire(source.digest, source).release()
    cache.acquire(sources[3].digest, sources[3]).release()
    cache.acquire(sources[0].digest, Offline()).release()
    with pytest.raises(Unavailable):
        cache.acquire(sources[1].digest, Offline())


def test_what_is_in_use_is_never_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=150_000)
    used = MemorySource({"model": random_bytes(100_000)})
    with cache.acquire(used.digest, used) as version:
        for _ in range(3):
            other = MemorySource({"model": random_bytes(100_000)})
            cache.acquire(other.digest, other).release()
        assert contents(version.path) == used.files
    other = MemorySource({"model": random_bytes(100_000)})
    cache.acquire(other.digest, other).release()
    assert not version.path.exists()


def test_what_served_last_is_never_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=150_000)
    good = MemorySource({"model": random_bytes(100_000)})
    cache.acquire(good.digest, good).release()
    cache.remember_good("here:1", "m@champion", Resolution("m", 1, good.digest))
    for _ in range(3):
        other = MemorySource({"model": random_bytes(100_000)})
        cache.acquire(other.digest, other).release()
    with cache.acquire(good.digest, Offline()) as version:
        assert contents(version.path) == good.files


def test_a_version_larger_than_the_bound_is_served_all_the_same(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=10)
    source = MemorySource({"model": random_bytes(5000)})
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == source.files


def test_loose_chunks_stay_within_the_bound(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=20_000)
    source = MemorySource({"model": random_bytes(100_000)})
    for chunk, data in source.stored.items():
        cache.put(chunk.sha256, data)
        assert cache.size_bytes() <= 20_000 + 1000
    newest = list(source.stored)[-1]
    assert cache.get(newest.sha256) == source.stored[newest]


def test_chunks_of_whole_versions_are_found_and_verified(
    cache: Cache, source: MemorySource
) -> None:
    chunk = source.made.files[-1].chunks[2]
    assert cache.get(chunk.sha256) is None
    with cache.acquire(source.digest, source) as version:
        assert cache.get(chunk.sha256) == source.stored[chunk]
        damage(version.path / "model.bin")
    damaged = [c for c in source.made.files[-1].chunks if cache.get(c.sha256) is None]
    assert len(damaged) == 1


def test_what_served_last_is_remembered_for_each_server_and_reference(cache: Cache) -> None:
    resolution = Resolution("m", 7, f"sha256:{7:064x}", size_bytes=12)
    cache.remember_good("here:1", "m@champion", resolution)
    assert Cache(cache.directory).last_known_good("here:1", "m@champion") == resolution
    assert cache.last_known_good("there:1", "m@champion") is None
    assert cache.last_known_good("here:1", "m@challenger") is None


def test_a_damaged_record_of_what_served_last_counts_for_nothing(cache: Cache) -> None:
    cache.remember_good("here:1", "m@champion", Resolution("m", 7, f"sha256:{7:064x}"))
    (record,) = (cache.directory / "last-known-good").glob("*.json")
    record.write_bytes(b'{"resolution": {"model": "m"}}')
    assert cache.last_known_good("here:1", "m@champion") is None


def test_a_record_that_is_too_deep_to_read_counts_for_nothing(cache: Cache) -> None:
    cache.remember_good("here:1", "m@champion", Resolution("m", 7, f"sha256:{7:064x}"))
    (record,) = (cache.directory / "last-known-good").glob("*.json")
    record.write_bytes(b"[" * 1_000_000)
    assert cache.last_known_good("here:1", "m@champion") is None


def test_a_cache_that_is_no_directory_says_so(tmp_path: Path, source: MemorySource) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheUnavailable, match="HERDBOOK_CACHE_DIR"):
        Cache(tmp_path / "file").acquire(source.digest, source)
    with pytest.raises(CacheUnavailable):
        Cache(tmp_path / "file").remember_good("s", "r", Resolution("m", 1, source.digest))
    Cache(tmp_path / "file").put(b"0" * 32, b"ignored")


def test_a_digest_that_is_none_is_refused(cache: Cache) -> None:
    with pytest.raises((ValueError, HerdbookError)):
        cache.acquire("sha256:../../x", Offline())


def test_settings_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERDBOOK_CACHE_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HERDBOOK_CACHE_MAX_BYTES", "123")
    cache = Cache()
    assert (cache.directory, cache.max_bytes) == (tmp_path / "elsewhere", 123)
    assert Cache(tmp_path, max_bytes=5).max_bytes == 5
    with pytest.raises(FieldInvalid, match="-1"):
        Cache(tmp_path, max_bytes=-1)
    monkeypatch.setenv("HERDBOOK_CACHE_MAX_BYTES", "32GiB")
    with pytest.raises(FieldInvalid, match="32GiB"):
        Cache(tmp_path)


def test_a_user_without_home_is_asked_for_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HERDBOOK_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(FieldInvalid, match="HERDBOOK_CACHE_DIR"):
        Cache()


def test_a_version_that_the_disk_has_no_room_for_is_not_begun(
    cache: Cache, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = shutil.disk_usage

    def nearly_full(path: Path) -> object:
        return genuine(path)._replace(free=6000)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    with pytest.raises(LocalDiskFull, match="6,000 bytes left"):
        cache.acquire(source.digest, source)
    assert not source.downloaded
    assert not list((cache.directory / "incoming").iterdir())
    monkeypatch.undo()
    cache.acquire(source.digest, source).release()
