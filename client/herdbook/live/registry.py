"""What a live model needs of the registry, and the registry behind gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from herdbook.cache.versions import TakeChunk, VersionSource
from herdbook.core.operations.fleet import report_replica
from herdbook.core.operations.versions import resolve
from herdbook.core.planning import batches
from herdbook.core.values import ChunkRef, Manifest, Replica, ReplicaReport, Resolution
from herdbook.core.watching import Watch, WatchUpdate
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.fetching import ChunkSource
from herdbook.transfer.manifests import get_manifest
from herdbook.transfer.pulling import BATCH_BYTES, BATCH_CHUNKS
from herdbook.transfer.workers import work_off
from herdbook.transport.caller import Caller
from herdbook.transport.connection import Connection
from herdbook.transport.watcher import follow


class Registry(Protocol):
    """What a live model needs of the registry. Every method may be called by any thread."""

    server: str
    """What the cache remembers it by."""

    def updates(
        self, reference: str, replica: Replica, cancel: CancelToken
    ) -> Iterator[WatchUpdate]:
        """Yields what a reference names, again and again; ends when the registry is closed.

        `cancel` ends the watch that is open; it does not end the iteration.

        Raises:
            HerdbookError: The registry refuses to be watched.
        """

    def resolve(self, reference: str) -> Resolution:
        """Returns which version a reference names now.

        Raises:
            HerdbookError: It names none, or the registry does not say.
        """

    def source(self, resolution: Resolution, cancel: CancelToken) -> VersionSource:
        """Returns where a version comes from; `cancel` ends what it does."""

    def report(self, report: ReplicaReport) -> None:
        """Says what this replica does."""

    def close(self) -> None:
        """Ends everything under way."""


class GrpcRegistry:
    """A registry server."""

    def __init__(self, connection: Connection) -> None:
        """Connects with the first call."""
        self.server = connection.target
        self._caller = Caller(connection)

    def updates(
        self, reference: str, replica: Replica, cancel: CancelToken
    ) -> Iterator[WatchUpdate]:
        """Yields what a reference names, over connections that come and go."""
        watch = Watch.of(reference, replica=replica)
        return follow(self._caller, watch, breaks_off=cancel.breaks_off)

    def resolve(self, reference: str) -> Resolution:
        """Returns which version a reference names now."""
        return self._caller.call(resolve(reference))

    def source(self, resolution: Resolution, cancel: CancelToken) -> VersionSource:
        """Returns where a version comes from."""
        return RemoteVersion(self._caller, resolution, cancel)

    def report(self, report: ReplicaReport) -> None:
        """Says what this replica does."""
        self._caller.call(report_replica(report))

    def close(self) -> None:
        """Ends calls under way and closes the channel."""
        self._caller.close()


class RemoteVersion:
    """A version that a server holds."""

    def __init__(self, caller: Caller, resolution: Resolution, cancel: CancelToken) -> None:
        """Asks nothing yet."""
        self._caller = caller
        self._resolution = resolution
        self._cancel = cancel
        self._direct = False

    def manifest(self) -> Manifest:
        """Reads the version's manifest."""
        reference = self._resolution.reference
        manifest = get_manifest(self._caller, reference, cancel=self._cancel)
        self._direct = manifest.direct
        return manifest.manifest

    def download(self, chunks: Sequence[ChunkRef], take: TakeChunk) -> None:
        """Downloads chunks over parallel streams, each verified before `take` gets it."""
        source = ChunkSource(
            self._caller,
            model=self._resolution.model,
            version=self._resolution.version,
            direct=self._direct,
            cache=None,
            cancel=self._cancel,
        )
        work_off(
            batches(chunks, max_bytes=BATCH_BYTES, max_count=BATCH_CHUNKS),
            lambda batch: source.fetch(batch, take),
            cancel=self._cancel,
        )
