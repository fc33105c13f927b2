"""Finds chunks in what the cache holds: in files of whole versions, and among loose chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator

from herdbook.cache.contents import Stretch, stretches
from herdbook.cache.layout import PREFIX, Layout, children
from herdbook.cache.manifests import read_manifest
from herdbook.core.values.artifacts import ChunkRef


def find_chunks(layout: Layout, wanted: Collection[ChunkRef]) -> dict[ChunkRef, Stretch]:
    """Returns where those of `wanted` lie that the cache has; they have yet to be hashed."""
    missing = set(wanted)
    found = {}
    for chunk in wanted:
        path = layout.chunk(chunk.sha256)
        if path.exists():
            found[chunk] = Stretch(path, 0, chunk)
            missing.discard(chunk)
    for stretch in _version_stretches(layout, lambda: bool(missing)):
        if stretch.chunk in missing:
            found[stretch.chunk] = stretch
            missing.discard(stretch.chunk)
    return found


class ChunkIndex:
    """Finds single chunks in whole versions; reads their manifests once. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        """Indexes nothing yet."""
        self._layout = layout
        self._lock = threading.Lock()
        self._indexed_at_ns = -1
        self._stretches: dict[bytes, Stretch] = {}

    def find(self, digest: bytes) -> Stretch | None:
        """Returns where the chunk should lie; None if in no version."""
        with self._lock:
            self._refresh()
            return self._stretches.get(digest)

    def _refresh(self) -> None:
        try:
            changed_at_ns = self._layout.versions.stat().st_mtime_ns
        except OSError:
            return
        if changed_at_ns != self._indexed_at_ns:
            self._indexed_at_ns = changed_at_ns
            self._stretches = {
                p.chunk.sha256: p for p in _version_stretches(self._layout, lambda: True)
            }


def _version_stretches(layout: Layout, needed: Callable[[], bool]) -> Iterator[Stretch]:
    for directory in children(layout.versions):
        if not needed():
            return
        manifest = read_manifest(directory / "manifest", PREFIX + directory.name)
        if manifest is not None:
            yield from stretches(manifest.files, directory / "files")
