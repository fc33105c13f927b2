"""What served last, so that a process can start again while the registry is down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from herdbook.cache.errors import explained
from herdbook.cache.layout import Layout, digest_hex, write_atomically
from herdbook.core.values.registry import Resolution

KEPT_SECONDS = 30 * 24 * 3600.0
"""A record that nobody has renewed for so long no longer keeps its version from eviction."""


class GoodRecords:
    """Remembers which version served last, for each server and reference. Safe among processes."""

    def __init__(self, layout: Layout) -> None:
        """Uses the directories of `layout`."""
        self._layout = layout

    def remember(self, server: str, reference: str, resolution: Resolution) -> None:
        """Records that the version has served. Atomic and durable.

        Raises:
            LocalDiskFull: There is no space left.
            CacheUnavailable: The directory cannot be used.
        """
        record = {"server": server, "reference": reference, "resolution": asdict(resolution)}
        with explained(self._layout.root):
            self._layout.prepare()
            path = self._layout.record(server, reference)
            write_atomically(path, json.dumps(record, indent=1).encode())

    def recall(self, server: str, reference: str) -> Resolution | None:
        """Returns the version that served last; None if none did, or if its record is damaged."""
        return _read(self._layout.record(server, reference))

    def digest_names(self) -> set[str]:
        """Returns the hex digits of the digests of versions that are to be kept."""
        return set(self._kept())

    def _kept(self) -> Iterator[str]:
        for path in self._layout.good.glob("*.json"):
            resolution = _read(path)
            if resolution is None or resolution.digest is None:
                continue
            if time.time() - path.stat().st_mtime < KEPT_SECONDS:
                yield digest_hex(resolution.digest)


def _read(path: Path) -> Resolution | None:
    try:
        resolution = Resolution(**json.loads(path.read_bytes())["resolution"])
        digest_hex(resolution.digest or "")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return resolution
