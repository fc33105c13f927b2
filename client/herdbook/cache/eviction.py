"""Makes room: what was used longest ago goes first, never what is in use or served last."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from herdbook.cache.good import GoodRecords
from herdbook.cache.layout import Layout, children, remove_whatever
from herdbook.errors import LocalDiskFull
from herdbook.locks import try_lock, wait_for_lock

ABANDONED_SECONDS = 3600.0
"""Temporary files that are older belong to nobody."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that may be evicted."""

    used_at: float
    size_bytes: int

    name: str
    """The hex digits of a version's digest; empty for a loose chunk."""

    path: Path
    """A loose chunk's file; for a version its directory in `versions` or `incoming`."""


class Evictor:
    """Keeps one cache directory within its bound. Thread-safe, and safe among processes."""

    def __init__(self, layout: Layout, good: GoodRecords, *, max_bytes: int) -> None:
        """Bounds the cache to `max_bytes`, which only what is in use may exceed."""
        self._layout = layout
        self._good = good
        self._max_bytes = max_bytes

    def make_room(self, needed_bytes: int, *, cancelled: Callable[[], bool]) -> None:
        """Evicts until `needed_bytes` more fit the bound and the disk, or nothing is left to evict.

        Raises:
            Cancelled: `cancelled` said so.
        """
        with wait_for_lock(self._layout.evict_lock, exclusive=True, cancelled=cancelled):
            self._remove_abandoned()
            entries = list(self.entries())
            over_bytes = sum(e.size_bytes for e in entries) + needed_bytes - self._max_bytes
            lacking_bytes = needed_bytes - shutil.disk_usage(self._layout.root).free
            self._evict_oldest(entries, max(over_bytes, lacking_bytes))

    def require_room(self, needed_bytes: int) -> None:
        """Checks that the disk has so much left.

        Raises:
            LocalDiskFull: It has not; nothing was written.
        """
        free_bytes = shutil.disk_usage(self._layout.root).free
        if needed_bytes > free_bytes:
            raise LocalDiskFull(
                f"{self._layout.root} has {free_bytes:,} bytes left, and {needed_bytes:,} are to "
                "be written."
            )

    def prune(self, max_bytes: int) -> int:
        """Evicts until no more than `max_bytes` are left, or nothing to evict; returns how many."""
        with wait_for_lock(self._layout.evict_lock, exclusive=True, cancelled=lambda: False):
            self._remove_abandoned()
            entries = list(self.entries())
            return self._evict_oldest(entries, sum(e.size_bytes for e in entries) - max_bytes)

    def size_bytes(self) -> int:
        """Returns how many bytes lie in the cache."""
        return sum(entry.size_bytes for entry in self.entries())

    def _evict_oldest(self, entries: Iterable[Entry], excess_bytes: int) -> int:
        """Evicts this much or somewhat more, if so much may go; returns how many bytes went."""
        evicted_bytes = 0
        spared = self._good.digest_names()
        for entry in sorted(entries, key=lambda entry: entry.used_at):
            if evicted_bytes >= excess_bytes:
                break
            if entry.name not in spared and self._evict(entry):
                evicted_bytes += entry.size_bytes
        return evicted_bytes

    def entries(self) -> Iterator[Entry]:
        """Yields what lies in the cache."""
        for parent in (self._layout.versions, self._layout.incoming):
            for directory in children(parent):
                if directory.name.startswith("."):
                    # Whoever moved it aside is about to delete it.
                    continue
                yield Entry(
                    self._used_at(directory), tree_bytes(directory), directory.name, directory
                )
        for shelf in children(self._layout.chunks):
            for path in children(shelf):
                if path.name.startswith("."):
                    # Somebody is about to put it in its place.
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found = path.lstat()
                    yield Entry(found.st_mtime, found.st_size, "", path)

    def _remove_abandoned(self) -> None:
        for directory in (self._layout.versions, *children(self._layout.chunks)):
            remove_abandoned(directory)

    def _used_at(self, directory: Path) -> float:
        for path in (self._layout.use_lock(directory.name), directory):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_mtime
        return 0.0

    def _evict(self, entry: Entry) -> bool:
        if not entry.name:
            remove_whatever(entry.path)
            return True
        lock = try_lock(self._layout.use_lock(entry.name), exclusive=True)
        if lock is None:
            return False
        with lock:
            _remove_version(entry.path)
            self._layout.fetch_lock(entry.name).unlink(missing_ok=True)
            self._layout.use_lock(entry.name).unlink(missing_ok=True)
        return True


def _remove_version(directory: Path) -> None:
    # Without its manifest it is no version any more, however far the rest gets.
    with contextlib.suppress(OSError):
        (directory / "manifest").unlink()
    with contextlib.suppress(OSError):
        remove_whatever(directory)


def remove_abandoned(directory: Path) -> None:
    """Deletes what a killed process was about to: its names begin with a dot."""
    for path in children(directory):
        with contextlib.suppress(OSError):
            if path.name.startswith(".") and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                remove_whatever(path)


def tree_bytes(directory: Path) -> int:
    """Returns how much the files below a directory take up on the disk."""
    total_bytes = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total_bytes += (Path(parent) / name).lstat().st_blocks * 512
    return total_bytes
