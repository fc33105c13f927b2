"""What a person sees and does of the cache of this machine."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import typer

from herdbook.cache import Cache
from herdbook.cli.exits import ExitCode
from herdbook.cli.options import parse_size
from herdbook.core.values.registry import Resolution
from tests.unit.cache.sources import MemorySource
from tests.unit.cli.conftest import CommandLine

MIB = 1024**2


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("HERDBOOK_CACHE_DIR", str(tmp_path / "cache"))
    return Cache()


@pytest.fixture
def sources(cache: Cache) -> list[MemorySource]:
    """Three versions in the cache, used one after the other, of which the first served last."""
    made = [MemorySource({"model.bin": os.urandom(10_000)}) for _ in range(3)]
    for source in made:
        cache.acquire(source.digest, source).release()
    cache.remember_good("server", "m/a@b", Resolution("m/a", 1, made[0].digest))
    return made


def listed(herdbook: CommandLine) -> dict[str, dict[str, object]]:
    result = herdbook("cache", "ls", "--json")
    assert result.exit_code == 0, result.output
    return {version["digest"]: version for version in json.loads(result.stdout)["versions"]}


def put_chunk(cache: Cache, data: bytes) -> Path:
    digest = hashlib.sha256(data).digest()
    cache.put(digest, data)
    (path,) = cache.directory.glob(f"chunks/*/{digest.hex()}")
    return path


def test_a_cache_that_is_not_there_is_empty_and_not_made(
    herdbook: CommandLine, cache: Cache
) -> None:
    assert listed(herdbook) == {}
    for arguments in (["ls"], ["prune"], ["verify"]):
        assert herdbook("cache", *arguments).exit_code == 0
    assert not cache.directory.exists()


def test_versions_are_listed_with_what_keeps_them(
    herdbook: CommandLine, cache: Cache, sources: list[MemorySource]
) -> None:
    with cache.acquire(sources[1].digest, sources[1]):
        found = listed(herdbook)
        assert [found[source.digest]["in_use"] for source in sources] == [False, True, False]
    assert [found[source.digest]["kept"] for source in sources] == [True, False, False]
    assert all(version["whole"] for version in found.values())
    text = herdbook("cache", "ls").output
    assert sources[0].digest[:19] in text
    assert "served last" in text


def test_a_fetch_that_broke_off_is_listed_as_partial(herdbook: CommandLine, cache: Cache) -> None:
    source = MemorySource({"model.bin": os.urandom(10_000)})
    source.breaks_after = 4
    with pytest.raises(Exception, match="down"):
        cache.acquire(source.digest, source)
    assert listed(herdbook)[source.digest]["whole"] is False
    assert herdbook("cache", "verify").exit_code == 0


def test_prune_leaves_what_is_in_use_or_served_last(
    herdbook: CommandLine, cache: Cache, sources: list[MemorySource]
) -> None:
    put_chunk(cache, b"loose" * 1000)
    with cache.acquire(sources[1].digest, sources[1]):
        result = herdbook("cache", "prune", "--max-size", "0", "--json")
        assert json.loads(result.stdout)["freed_bytes"] > 10_000
        assert set(listed(herdbook)) == {sources[0].digest, sources[1].digest}
    assert not list(cache.directory.glob("chunks/*/*"))


def test_prune_stops_where_it_is_told(
    herdbook: CommandLine, cache: Cache, sources: list[MemorySource]
) -> None:
    assert "Freed 0 B" in herdbook("cache", "prune").output
    size_bytes = cache.size_bytes()
    herdbook("cache", "prune", "--max-size", str(size_bytes - 1))
    assert set(listed(herdbook)) == {sources[0].digest, sources[2].digest}


def test_verify_finds_damage_and_the_next_use_repairs_it(
    herdbook: CommandLine, cache: Cache, sources: list[MemorySource]
) -> None:
    chunk, sound = put_chunk(cache, b"loose" * 1000), put_chunk(cache, b"sound" * 1000)
    assert "Verified" in herdbook("cache", "verify").output
    chunk.write_bytes(b"moose" * 1000)
    (path,) = cache.directory.glob(f"versions/{sources[1].digest[7:]}/files/model.bin")
    path.chmod(0o644)
    path.write_bytes(b"x" * 10_000)
    result = herdbook("cache", "verify", "--json")
    assert result.exit_code == ExitCode.DAMAGED
    found = json.loads(result.stdout)
    assert found["damaged_versions"] == [sources[1].digest]
    assert found["removed_chunks"] == [chunk.name]
    assert not chunk.exists()
    assert sound.exists()
    with cache.acquire(sources[1].digest, sources[1]) as version:
        assert (version.path / "model.bin").read_bytes() == sources[1].files["model.bin"]
    assert herdbook("cache", "verify").exit_code == 0


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("1000", 1000), ("9B", 9), ("512MiB", 512 * MIB), ("1.5g", 1536 * MIB)],
)
def test_sizes_are_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "5 apples", "1e9", "5PiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_size(text)


def test_what_is_being_put_there_is_no_damaged_chunk(
    herdbook: CommandLine, cache: Cache, sources: list[MemorySource]
) -> None:
    chunk = put_chunk(cache, b"loose" * 1000)
    temporary = chunk.with_name(f".{chunk.name}.12")
    temporary.write_bytes(b"loose")
    found = json.loads(herdbook("cache", "verify", "--json").stdout)
    assert found["removed_chunks"] == []
    assert temporary.exists()
    os.utime(temporary, (0, 0))
    herdbook("cache", "prune")
    assert not temporary.exists()


def test_a_file_is_no_cache(herdbook: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = herdbook("cache", "verify", "--cache-dir", str(tmp_path / "file"))
    assert result.exit_code == ExitCode.USAGE
    assert "is a file" in " ".join(result.output.replace("│", " ").split())
