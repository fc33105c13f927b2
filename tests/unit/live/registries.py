"""A registry in memory, and models that notice when they are used after they were closed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from herdbook.cache.versions import TakeChunk, VersionSource
from herdbook.core.values import (
    Bookmark,
    ChunkRef,
    Manifest,
    ReferenceState,
    Replica,
    ReplicaReport,
    ReplicaState,
    Resolution,
)
from herdbook.core.watching import Disconnected, WatchUpdate
from herdbook.errors import HerdbookError, Unavailable, VersionNotFound
from herdbook.transfer.cancellation import CancelToken
from tests.support.waiting import wait_until
from tests.unit.cache.sources import MemorySource

REFERENCE = "fraud/tc@champion"


class MemoryRegistry:
    """Versions 1, 2, 3 … of one model and one alias; can be down, and can refuse."""

    def __init__(self) -> None:
        self.server = "memory"
        self.sources: list[MemorySource] = []
        self.reports: list[ReplicaReport] = []
        self.replicas: list[Replica] = []
        self.watches: list[CancelToken] = []
        self.refusal: HerdbookError | None = None
        self.down = False
        self.closed = threading.Event()
        self.downloading = threading.Event()
        self._alias: int | None = None
        self._revision = 0
        self._watchers: list[queue.Queue[WatchUpdate | None]] = []
        self._lock = threading.Lock()

    def add(self, text: str) -> int:
        """Adds a version whose file `model.txt` has this text; returns its number."""
        self.sources.append(MemorySource({"model.txt": text.encode(), "same.bin": b"x" * 5000}))
        return len(self.sources)

    def resolution(self, version: int) -> Resolution:
        source = self.sources[version - 1]
        return Resolution("fraud/tc", version, source.digest, size_bytes=source.made.size_bytes)

    def move(self, version: int | None) -> None:
        """Moves the alias, or deletes it."""
        with self._lock:
            self._alias = version
            self._revision += 1
            for watcher in self._watchers:
                watcher.put(self._state())

    def break_down(self) -> None:
        """Nothing is to be had from here any more."""
        self.down = True
        for watcher in self._watchers:
            watcher.put(Disconnected(Unavailable("The registry is down."), 0.01))

    def come_back(self) -> None:
        """Everything is to be had again."""
        self.down = False
        with self._lock:
            for watcher in self._watchers:
                watcher.put(self._state())
                watcher.put(Bookmark(self._revision, initial_done=True))

    def updates(
        self, reference: str, replica: Replica, cancel: CancelToken
    ) -> Iterator[WatchUpdate]:
        assert reference == REFERENCE
        if self.refusal is not None:
            raise self.refusal
        self.replicas.append(replica)
        updates: queue.Queue[WatchUpdate | None] = queue.Queue()
        with self._lock:
            self._watchers.append(updates)
        if self.down:
            updates.put(Disconnected(Unavailable("The registry is down."), 0.01))
        else:
            updates.put(self._state())
            updates.put(Bookmark(self._revision, initial_done=True))
        self.watches.append(cancel)
        with cancel.breaks_off(lambda: updates.put(None)):
            while (update := updates.get()) is not None:
                yield update

    def resolve(self, reference: str) -> Resolution:
        if self.down:
            raise Unavailable("The registry is down.")
        _, _, version = reference.partition(":")
        if int(version) > len(self.sources):
            raise VersionNotFound(f"There is no {reference}.")
        return self.resolution(int(version))

    def source(self, resolution: Resolution, cancel: CancelToken) -> VersionSource:
        return _Remote(self, self.sources[resolution.version - 1], cancel)

    def report(self, report: ReplicaReport) -> None:
        if self.down:
            raise Unavailable("The registry is down.")
        self.reports.append(report)

    def close(self) -> None:
        self.closed.set()
        for watcher in self._watchers:
            watcher.put(None)

    def _state(self) -> ReferenceState:
        if self._alias is None:
            return ReferenceState(REFERENCE, None, self._revision, "ALIAS_NOT_FOUND")
        return ReferenceState(REFERENCE, self.resolution(self._alias), self._revision)


class _Remote:
    def __init__(self, registry: MemoryRegistry, source: MemorySource, cancel: CancelToken) -> None:
        self._registry = registry
        self._source = source
        self._cancel = cancel

    def manifest(self) -> Manifest:
        self._check()
        return self._source.manifest()

    def download(self, chunks: Sequence[ChunkRef], take: TakeChunk) -> None:
        self._registry.downloading.set()
        while not self._source.gate.wait(0.01):
            self._cancel.check()
        self._check()
        self._source.download(chunks, take)

    def _check(self) -> None:
        self._cancel.check()
        if self._registry.down:
            raise Unavailable("The registry is down.")


class Model:
    """Answers with its version's text, as long as it is not closed."""

    made: list[Model]

    def __init__(self, path: Path) -> None:
        self.text = (path / "model.txt").read_text()
        if self.text.startswith("broken"):
            raise ValueError(f"{self.text} does not load")
        self.close_count = 0
        self.warm = False
        self.made.append(self)

    def predict(self) -> str:
        assert self.close_count == 0, "a closed model was used"
        return self.text

    def close(self) -> None:
        self.close_count += 1


def wait_for_text(live: object, text: str) -> None:
    """Waits until a live model answers with the text."""
    wait_until(lambda: live.current.predict() == text, f"{text} serves")  # type: ignore[attr-defined]


def last_state(registry: MemoryRegistry) -> ReplicaState | None:
    """Returns what the live model last said that it does."""
    return registry.reports[-1].state if registry.reports else None


class Speechless(Exception):
    """An error that fails when it is asked what it says."""

    def __str__(self) -> str:
        raise RuntimeError("nothing to say")
