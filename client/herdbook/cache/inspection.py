"""What lies in a cache, and whether it is sound."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from herdbook.cache.contents import damaged_files, is_well_formed, strays
from herdbook.cache.eviction import Entry, Evictor
from herdbook.cache.good import GoodRecords
from herdbook.cache.layout import PREFIX, Layout, remove_whatever
from herdbook.cache.manifests import read_manifest
from herdbook.core.manifests import MAX_CHUNK_BYTES
from herdbook.files import read_at_most
from herdbook.locks import try_lock


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A version in the cache."""

    digest: str
    """The version's digest: `sha256:` and 64 hex digits."""

    size_bytes: int
    """What it takes up on the disk."""

    used_at: datetime
    """When it was last used."""

    whole: bool
    """Whether all of it is there; a fetch that goes on or broke off has some."""

    in_use: bool
    """Whether some process uses or fetches it now."""

    kept: bool
    """Whether it served last for a reference, so that it is not evicted."""


@dataclass(frozen=True, slots=True)
class CacheContents:
    """What a cache holds."""

    versions: tuple[CacheEntry, ...]
    """The versions, the one used last first."""

    chunk_count: int
    """How many chunks belong to no version here."""

    chunk_bytes: int
    """How many bytes these have."""

    @property
    def size_bytes(self) -> int:
        """How many bytes all of it takes up."""
        return self.chunk_bytes + sum(version.size_bytes for version in self.versions)


@dataclass(frozen=True, slots=True)
class CacheCheck:
    """What a look at everything came to."""

    checked_bytes: int
    """How many bytes were looked at."""

    damaged_versions: tuple[str, ...]
    """Digests of versions that are not what they were, and are repaired when used next."""

    removed_chunks: tuple[str, ...]
    """SHA-256, in hex, of chunks that were not what they were, and are gone now."""


def contents(layout: Layout, evictor: Evictor, good: GoodRecords) -> CacheContents:
    """Lists what a cache holds."""
    entries = list(evictor.entries())
    kept = good.digest_names()
    chunks = [entry for entry in entries if not entry.name]
    versions = (
        _describe(layout, entry, kept=entry.name in kept) for entry in entries if entry.name
    )
    return CacheContents(
        versions=tuple(sorted(versions, key=lambda version: version.used_at, reverse=True)),
        chunk_count=len(chunks),
        chunk_bytes=sum(chunk.size_bytes for chunk in chunks),
    )


def check(layout: Layout, evictor: Evictor) -> CacheCheck:
    """Hashes all that is whole, and removes damaged chunks."""
    checked_bytes = 0
    damaged: list[str] = []
    removed: list[str] = []
    for entry in evictor.entries():
        if not entry.name:
            checked_bytes += entry.size_bytes
            if not _is_sound_chunk(entry):
                with contextlib.suppress(OSError):
                    remove_whatever(entry.path)
                    removed.append(entry.path.name)
        elif _is_whole(layout, entry):
            checked_bytes += entry.size_bytes
            if not _is_sound_version(layout, entry):
                damaged.append(PREFIX + entry.name)
    return CacheCheck(checked_bytes, tuple(damaged), tuple(removed))


def _describe(layout: Layout, entry: Entry, *, kept: bool) -> CacheEntry:
    return CacheEntry(
        digest=PREFIX + entry.name,
        size_bytes=entry.size_bytes,
        used_at=datetime.fromtimestamp(entry.used_at, UTC),
        whole=_is_whole(layout, entry),
        in_use=_is_in_use(layout, entry),
        kept=kept,
    )


def _is_whole(layout: Layout, entry: Entry) -> bool:
    return entry.path.parent == layout.versions


def _is_in_use(layout: Layout, entry: Entry) -> bool:
    path = layout.use_lock(entry.name)
    if not path.exists():
        return False
    lock = try_lock(path, exclusive=True)
    if lock is not None:
        lock.release()
    return lock is None


def _is_sound_chunk(entry: Entry) -> bool:
    try:
        data = read_at_most(entry.path, MAX_CHUNK_BYTES)
    except FileNotFoundError:
        return not entry.path.is_symlink()
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == entry.path.name


def _is_sound_version(layout: Layout, entry: Entry) -> bool:
    """Whether a version is what it was; one that is being deleted is no matter any more."""
    lock = try_lock(layout.use_lock(entry.name), exclusive=False)
    if lock is None:
        return True
    with lock:
        manifest = read_manifest(entry.path / "manifest", PREFIX + entry.name)
        return (
            manifest is not None
            and is_well_formed(entry.path, manifest.files)
            and not any(strays(entry.path / "files", manifest.files))
            and not damaged_files(manifest.files, entry.path / "files", cancelled=lambda: False)
        )
