"""Damage to the shape of what lies in the cache: it costs a download and nobody's attention."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from herdbook.cache import Cache
from herdbook.cache.layout import Layout
from herdbook.core.manifests import MAX_CHUNK_BYTES
from tests.unit.cache.sources import MemorySource, Offline

FILES = {"model.bin": b"m" * 2500, "deep/er/a": b"a" * 1500, "deep/b": b"b"}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", max_bytes=10**9)


@pytest.fixture
def source() -> MemorySource:
    return MemorySource(FILES)


def contents(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def to_directory(path: Path) -> None:
    remove(path)
    path.mkdir()


def to_file(path: Path) -> None:
    remove(path)
    path.write_bytes(b"in the way")


def to_loop(path: Path) -> None:
    remove(path)
    path.symlink_to(path)


def to_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


HARMS: list[tuple[str, Callable[[Path], None]]] = [
    ("files/model.bin", to_directory),
    ("files/model.bin", to_loop),
    ("files/model.bin", to_pipe),
    ("files/deep", to_file),
    ("files/deep/er", to_loop),
    ("files", to_file),
    ("manifest", to_directory),
    ("manifest", to_loop),
    ("manifest", to_pipe),
    (".", to_file),
    (".", to_loop),
]


@pytest.mark.parametrize(
    ("place", "harm"), HARMS, ids=[f"{place} {harm.__name__}" for place, harm in HARMS]
)
def test_what_is_of_the_wrong_kind_is_fetched_again(
    cache: Cache, source: MemorySource, place: str, harm: Callable[[Path], None]
) -> None:
    with cache.acquire(source.digest, source) as version:
        root = version.path.parent
    harm(root / place)
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == FILES
    with cache.acquire(source.digest, Offline()) as version:
        assert contents(version.path) == FILES
    assert [path.name for path in root.parent.iterdir()] == [root.name]


@pytest.mark.parametrize("place", ["files/deep", "files", "."])
def test_nothing_is_written_or_served_through_a_link(
    cache: Cache, source: MemorySource, tmp_path: Path, place: str
) -> None:
    with cache.acquire(source.digest, source) as version:
        root = version.path.parent
    outside = tmp_path / "outside"
    (root / place).rename(outside)
    (root / place).symlink_to(outside)
    for path in outside.rglob("[ab]"):
        path.chmod(0o644)
        path.write_bytes(b"of somebody else")
    before = contents(outside)
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == FILES
        assert (version.path / "deep").resolve().is_relative_to(cache.directory.resolve())
    assert contents(outside) == before


@pytest.mark.parametrize(
    ("place", "harm"), HARMS, ids=[f"{place} {harm.__name__}" for place, harm in HARMS]
)
def test_an_interrupted_fetch_of_the_wrong_kinds_is_begun_anew(
    cache: Cache, source: MemorySource, place: str, harm: Callable[[Path], None]
) -> None:
    with cache.acquire(source.digest, source) as version:
        root = version.path.parent
    incoming = cache.directory / "incoming" / root.name
    root.rename(incoming)
    harm(incoming / place)
    with cache.acquire(source.digest, source) as version:
        assert contents(version.path) == FILES


def test_a_version_of_the_wrong_shape_is_in_nobodys_way(cache: Cache, source: MemorySource) -> None:
    with cache.acquire(source.digest, source) as version:
        to_directory(version.path.parent / "manifest")
    other = MemorySource({"other": b"o" * 10})
    with cache.acquire(other.digest, other) as version:
        assert contents(version.path) == other.files


def test_what_is_no_chunk_is_neither_waited_for_nor_read_for_ever(
    cache: Cache, source: MemorySource
) -> None:
    pipe, endless, loop, directory = (bytes([number]) * 32 for number in range(4))
    layout = Layout(cache.directory)
    layout.prepare()
    for digest in (pipe, endless, loop, directory):
        layout.chunk(digest).parent.mkdir(exist_ok=True)
    os.mkfifo(layout.chunk(pipe))
    layout.chunk(endless).symlink_to("/dev/zero")
    layout.chunk(loop).symlink_to(layout.chunk(loop))
    (layout.chunk(directory) / "deep").mkdir(parents=True)
    assert cache.get(pipe) == b""
    assert cache.get(endless) == bytes(MAX_CHUNK_BYTES)
    assert cache.get(loop) is None
    opened = len(list(Path("/proc/self/fd").iterdir()))
    assert cache.get(directory) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
    cache.acquire(source.digest, source).release()
    assert set(cache.check().removed_chunks) == {
        layout.chunk(digest).name for digest in (pipe, endless, loop, directory)
    }
    assert cache.check().removed_chunks == ()


def test_a_file_in_the_place_of_all_versions_hides_chunks_and_harms_no_pull(
    cache: Cache,
) -> None:
    layout = Layout(cache.directory)
    layout.prepare()
    layout.versions.rmdir()
    layout.versions.touch()
    assert cache.get(bytes(32)) is None


def test_a_version_of_the_wrong_shape_can_be_evicted(tmp_path: Path, source: MemorySource) -> None:
    cache = Cache(tmp_path / "cache", max_bytes=5000)
    with cache.acquire(source.digest, source) as version:
        to_directory(version.path.parent / "manifest")
        root = version.path.parent
    other = MemorySource({"other": os.urandom(4900)})
    cache.acquire(other.digest, other).release()
    assert not root.exists()
