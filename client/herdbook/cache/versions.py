"""Whole versions: fetched once for all processes of a host, verified at every use, repaired."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from herdbook.cache.contents import (
    Stretch,
    copy_chunks,
    damaged_files,
    is_well_formed,
    strays,
    stretches,
)
from herdbook.cache.errors import explained
from herdbook.cache.eviction import Evictor, tree_bytes
from herdbook.cache.index import find_chunks
from herdbook.cache.layout import (
    Layout,
    digest_hex,
    remove_whatever,
    touch,
    write_atomically,
)
from herdbook.cache.manifests import digest_of, encode, read_manifest
from herdbook.core.manifests import manifest_of
from herdbook.core.values.artifacts import ChunkRef, File, Manifest
from herdbook.errors import ChecksumMismatch
from herdbook.files import sync, sync_all
from herdbook.locks import FileLock, wait_for_lock

TakeChunk: TypeAlias = Callable[[ChunkRef, bytes | memoryview], None]
"""Takes a chunk, hashed and valid during the call; called by several threads at once."""


class VersionSource(Protocol):
    """Where a version comes from if the cache does not hold all of it."""

    def manifest(self) -> Manifest:
        """Returns the version's manifest."""

    def download(self, chunks: Sequence[ChunkRef], take: TakeChunk) -> None:
        """Gives each of the chunks to `take`, once and verified; raises if it cannot."""


@dataclass(frozen=True, slots=True)
class CachedVersion:
    """A version in the cache that is in use: nobody deletes it until it is released.

    Use it in a `with` statement, or call `release`.
    """

    path: Path
    """The directory with the version's files, all verified; they are read-only and shared."""

    digest: str
    """The version's digest."""

    downloaded_bytes: int
    """How much had to be downloaded for it."""

    _lock: FileLock = field(repr=False, compare=False)
    _stamp: Path = field(repr=False, compare=False)

    def release(self) -> None:
        """Lets go of it; again does nothing."""
        if self._lock.held:
            with contextlib.suppress(OSError):
                touch(self._stamp)
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class VersionStore:
    """The whole versions of one cache directory. Thread-safe, and safe among processes."""

    def __init__(self, layout: Layout, evictor: Evictor) -> None:
        """Uses the directories of `layout`, and `evictor` to make room."""
        self._layout = layout
        self._evictor = evictor

    def acquire(
        self, digest: str, source: VersionSource, *, cancelled: Callable[[], bool]
    ) -> CachedVersion:
        """Returns the version with this digest, verified; takes from `source` what is not here.

        If another process is fetching it, this waits and shares the outcome.

        Raises:
            Cancelled: `cancelled` said so; what has arrived is kept for the next time.
            ChecksumMismatch: `source` gave a manifest that does not have this digest.
            LocalDiskFull: There is no space left.
            CacheUnavailable: The directory cannot be used.
        """
        name = digest_hex(digest)
        with explained(self._layout.root):
            self._layout.prepare()
            stamp = self._layout.use_lock(name)
            use = wait_for_lock(stamp, exclusive=False, cancelled=cancelled)
            try:
                fetch = _Fetch(self._layout, self._evictor, digest, cancelled)
                downloaded_bytes = fetch.ensure(source)
                touch(stamp)
            except BaseException:
                use.release()
                raise
            return CachedVersion(fetch.place / "files", digest, downloaded_bytes, use, stamp)


class _Fetch:
    """One attempt to have a version whole, while its use lock is held."""

    def __init__(
        self, layout: Layout, evictor: Evictor, digest: str, cancelled: Callable[[], bool]
    ) -> None:
        self._layout = layout
        self._evictor = evictor
        self._digest = digest
        self._cancelled = cancelled
        self._name = digest_hex(digest)
        self._incoming = layout.incoming / self._name
        self.place = layout.versions / self._name

    def ensure(self, source: VersionSource) -> int:
        """Makes the version whole and returns how many bytes were downloaded."""
        if self._is_sound():
            return 0
        lock = self._layout.fetch_lock(self._name)
        with wait_for_lock(lock, exclusive=True, cancelled=self._cancelled):
            manifest = self._manifest(source)
            repairable = self._is_repairable(manifest)
            if repairable:
                self._remove_strays(manifest)
                repairable = not any(self._strays(manifest))
            files = self._missing(manifest) if repairable else list(manifest.files)
            if files:
                return self._fetch(manifest, files, source, repairable=repairable)
            write_atomically(self.place / "manifest", encode(manifest))
            return 0

    def _is_sound(self) -> bool:
        manifest = read_manifest(self.place / "manifest", self._digest)
        return (
            manifest is not None
            and self._is_repairable(manifest)
            and not any(self._strays(manifest))
            and not self._missing(manifest)
        )

    def _manifest(self, source: VersionSource) -> Manifest:
        for directory in (self.place, self._incoming):
            manifest = read_manifest(directory / "manifest", self._digest)
            if manifest is not None:
                return manifest
        manifest = manifest_of(source.manifest().files)
        if digest_of(encode(manifest)) != self._digest:
            raise ChecksumMismatch(f"The manifest that came for {self._digest} has another digest.")
        return manifest

    def _is_repairable(self, manifest: Manifest) -> bool:
        """Whether what is in place can be made whole file by file, rather than all at once."""
        here = (self.place / "manifest").exists()
        return here and is_well_formed(self.place, manifest.files)

    def _strays(self, manifest: Manifest) -> Iterator[Path]:
        return strays(self.place / "files", manifest.files)

    def _remove_strays(self, manifest: Manifest) -> None:
        for path in list(self._strays(manifest)):
            # What may not be removed is left behind with the directory, which is then replaced.
            with contextlib.suppress(OSError):
                remove_whatever(path)

    def _missing(self, manifest: Manifest) -> list[File]:
        return damaged_files(manifest.files, self.place / "files", cancelled=self._cancelled)

    def _fetch(
        self, manifest: Manifest, files: list[File], source: VersionSource, *, repairable: bool
    ) -> int:
        if not is_well_formed(self._incoming, manifest.files):
            remove_whatever(self._incoming)
        needed_bytes = sum(file.size_bytes for file in files) - tree_bytes(self._incoming)
        self._evictor.make_room(max(0, needed_bytes), cancelled=self._cancelled)
        self._evictor.require_room(needed_bytes)
        resumed = self._incoming.exists()
        root = self._incoming / "files"
        _lay_out(files, root)
        write_atomically(self._incoming / "manifest", encode(manifest))
        downloaded_bytes = self._fill(list(stretches(files, root)), source, resumed=resumed)
        _seal(files, root)
        if repairable:
            self._repair(files)
        else:
            self._put_in_place()
        return downloaded_bytes

    def _fill(self, targets: list[Stretch], source: VersionSource, *, resumed: bool) -> int:
        filled: set[Stretch] = set()
        if resumed:
            own = ((target, target) for target in targets)
            filled |= copy_chunks(own, cancelled=self._cancelled)
        filled |= self._copy_from_cache([t for t in targets if t not in filled])
        return _download([t for t in targets if t not in filled], source)

    def _copy_from_cache(self, targets: list[Stretch]) -> set[Stretch]:
        known = find_chunks(self._layout, {target.chunk for target in targets})
        pairs = ((t, known[t.chunk]) for t in targets if t.chunk in known)
        return copy_chunks(pairs, cancelled=self._cancelled)

    def _put_in_place(self) -> None:
        # Moved aside first, within its directory, so that the place is empty for a moment only.
        aside = self.place.with_name(f".{self._name}.{os.urandom(4).hex()}")
        with contextlib.suppress(FileNotFoundError):
            self.place.rename(aside)
        self._incoming.rename(self.place)
        sync(self._layout.versions)
        # Whoever makes room may be deleting it, too.
        with contextlib.suppress(OSError):
            remove_whatever(aside)

    def _repair(self, files: Iterable[File]) -> None:
        write_atomically(self.place / "manifest", (self._incoming / "manifest").read_bytes())
        # Others may be using the version: they keep the files they have opened.
        for file in files:
            path = self.place / "files" / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            (self._incoming / "files" / file.path).replace(path)
            sync(path.parent)
        remove_whatever(self._incoming)


def _lay_out(files: Iterable[File], root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            # A fetch that was cut off at its very end has left it read-only.
            path.chmod(0o644)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, file.size_bytes)
        finally:
            os.close(descriptor)


def _download(targets: list[Stretch], source: VersionSource) -> int:
    wanted: dict[ChunkRef, list[Stretch]] = {}
    for target in targets:
        wanted.setdefault(target.chunk, []).append(target)

    def take(chunk: ChunkRef, data: bytes | memoryview) -> None:
        for target in wanted[chunk]:
            target.write(data)

    if wanted:
        source.download(list(wanted), take)
    return sum(chunk.size_bytes for chunk in wanted)


def _seal(files: Iterable[File], root: Path) -> None:
    """Makes what was written durable, and read-only since others share it."""
    paths = [root / file.path for file in files]
    for path in paths:
        path.chmod(0o444)
    sync_all(paths)
    sync_all({root, root.parent, *(p for path in paths for p in path.parents if root in p.parents)})
