"""Puts the files of a version into a local directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from herdbook.core.planning import PlacedChunk, batches, place_chunks
from herdbook.core.values import (
    ChunkRef,
    PulledVersion,
    TransferProgress,
    TransferReport,
    VersionManifest,
)
from herdbook.errors import DestinationExists, DestinationUnusable
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.chunk_cache import ChunkCache
from herdbook.transfer.destinations import StagedDirectory, making
from herdbook.transfer.fetching import Bytes, ChunkSource
from herdbook.transfer.leftovers import sweep
from herdbook.transfer.meter import Meter
from herdbook.transfer.mounts import check_mounts
from herdbook.transfer.verifying import verify_directory
from herdbook.transfer.workers import work_off
from herdbook.transport.caller import Caller

BATCH_BYTES: Final = 32 * 1024 * 1024
"""Data that one stream brings; a thread holds one message of it at a time."""

BATCH_CHUNKS: Final = 4096


def fetch_files(
    caller: Caller,
    manifest: VersionManifest,
    destination: Path,
    *,
    cache: ChunkCache | None,
    overwrite: bool,
    progress: Callable[[TransferProgress], None] | None,
    cancel: CancelToken,
) -> PulledVersion:
    """Makes the destination, or what it is a link to, hold exactly the files of the manifest.

    Raises:
        DestinationExists: It holds something else, and `overwrite` is not set.
        DestinationUnusable: It cannot be made; or it is a file, or is or holds a mount point, the
            working directory or the cache, which are not replaced, or lies in the cache.
    """
    meter = Meter(manifest.manifest.size_bytes, progress)
    place = _without_link(destination)
    with making(place):
        sweep(place.parent)
    if _is_in_place(place, manifest):
        meter.add(saved_bytes=manifest.manifest.size_bytes)
        return _pulled(manifest, destination, meter.report())
    try:
        _check_usable(place, manifest, overwrite=overwrite, cache=cache)
        _fetch(caller, manifest, place, meter, cache=cache, overwrite=overwrite, cancel=cancel)
    except DestinationExists:
        # Another pull of the same version may have been faster.
        if not _is_in_place(place, manifest):
            raise
    return _pulled(manifest, destination, meter.report())


def _fetch(
    caller: Caller,
    manifest: VersionManifest,
    destination: Path,
    meter: Meter,
    *,
    cache: ChunkCache | None,
    overwrite: bool,
    cancel: CancelToken,
) -> None:
    """Puts the files in place when all of them have come."""
    staged = StagedDirectory(destination, manifest.manifest)
    try:
        source = ChunkSource(
            caller,
            model=manifest.model,
            version=manifest.version,
            direct=manifest.direct,
            cache=cache,
            cancel=cancel,
        )
        pull = Pull(source, staged, meter)
        chunks = place_chunks(manifest.manifest)
        work_off(
            batches(chunks, max_bytes=BATCH_BYTES, max_count=BATCH_CHUNKS), pull.take, cancel=cancel
        )
        staged.publish(overwrite=overwrite)
    finally:
        staged.discard()


def _pulled(
    manifest: VersionManifest, destination: Path, transfer: TransferReport
) -> PulledVersion:
    return PulledVersion(
        path=destination,
        model=manifest.model,
        version=manifest.version,
        digest=manifest.digest,
        transfer=transfer,
    )


def _is_in_place(destination: Path, manifest: VersionManifest) -> bool:
    """Whether nothing is left to do, because the destination holds this version already."""
    with making(destination):
        return destination.is_dir() and verify_directory(destination, manifest.manifest)


def _without_link(destination: Path) -> Path:
    with making(destination):
        # Of links in a circle the operating system tells, when something is made there.
        return Path(os.path.realpath(destination)) if destination.is_symlink() else destination


def _check_usable(
    destination: Path, manifest: VersionManifest, *, overwrite: bool, cache: ChunkCache | None
) -> None:
    """Refuses what must not be replaced, or would be another one for whoever works in it."""
    with making(destination):
        if cache is not None and cache.directory is not None:
            _check_outside_cache(destination, cache.directory)
        try:
            is_directory = stat.S_ISDIR(destination.stat().st_mode)
            occupied = is_directory and any(destination.iterdir())
        except FileNotFoundError:
            return
        if not is_directory:
            raise DestinationUnusable(f"{destination} is a file, and a version is a directory.")
        check_mounts(destination)
        if _holds_working_directory(destination):
            raise DestinationUnusable(
                f"{destination} holds the working directory, which a pull would replace: "
                "name another."
            )
    if occupied and not overwrite:
        raise DestinationExists(
            f"{destination} holds something else than {manifest.model}:{manifest.version}; "
            "overwriting would replace it, with all that is in there."
        )


def _check_outside_cache(destination: Path, cache: Path) -> None:
    if _lies_in(cache, destination) or _lies_in(destination, cache):
        raise DestinationUnusable(
            f"{destination} and the cache, {cache}, lie in each other: name another."
        )


def _holds_working_directory(directory: Path) -> bool:
    try:
        return _lies_in(Path.cwd(), directory)
    except FileNotFoundError:
        # Somebody has removed it.
        return False


def _lies_in(path: Path, directory: Path) -> bool:
    """Whether a path is a directory, or lies below it, by whatever name."""
    real = Path(os.path.realpath(path))
    return real.is_relative_to(os.path.realpath(directory)) or any(
        _is_same(parent, directory) for parent in (real, *real.parents)
    )


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


class Pull:
    """Takes chunks from where they are to where they belong."""

    def __init__(self, source: ChunkSource, staged: StagedDirectory, meter: Meter) -> None:
        self._source = source
        self._staged = staged
        self._meter = meter

    def take(self, batch: list[PlacedChunk]) -> None:
        """Takes some chunks: those that the cache has, then the others."""
        wanted = {chunk.ref: chunk for chunk in batch if not self._take_cached(chunk)}

        def deliver(ref: ChunkRef, data: Bytes) -> None:
            self._place(wanted[ref], data)
            repeated = len(wanted[ref].places) - 1
            self._meter.add(moved_bytes=len(data), saved_bytes=repeated * len(data))

        if wanted:
            self._source.fetch(list(wanted), deliver)

    def _take_cached(self, chunk: PlacedChunk) -> bool:
        data = self._source.cached(chunk.ref)
        if data is None:
            return False
        self._place(chunk, data)
        self._meter.add(saved_bytes=len(chunk.places) * len(data))
        return True

    def _place(self, chunk: PlacedChunk, data: Bytes) -> None:
        self._staged.write([(place, data) for place in chunk.places])
