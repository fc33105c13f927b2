"""Moves bytes: one engine on threads for both clients."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

from herdbook.core.manifests import check_path
from herdbook.core.values import (
    CopyReport,
    PulledVersion,
    TransferProgress,
    Version,
    VersionManifest,
)
from herdbook.errors import FileNotFound, SourceNotFound
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.chunk_cache import ChunkCache
from herdbook.transfer.fetching import ChunkSource
from herdbook.transfer.manifests import get_manifest
from herdbook.transfer.pulling import fetch_files
from herdbook.transfer.pushing import Registration, push
from herdbook.transfer.reading import RemoteFile
from herdbook.transfer.verifying import compare_directory
from herdbook.transport.caller import Caller

__all__ = ["CancelToken", "ChunkCache", "RemoteFile", "Transfers"]


class Transfers:
    """Pushes, pulls and reads files over one channel; may be used by several threads."""

    def __init__(self, caller: Caller, *, cache: Callable[[], ChunkCache | None]) -> None:
        """Makes the engine.

        Args:
            caller: Makes the calls.
            cache: Finds where chunks of earlier pulls are kept; called when they are needed.
        """
        self._caller = caller
        self._cache = cache

    def push(
        self,
        version: Version,
        path: Path,
        *,
        aliases: Iterable[str] = (),
        reason: str | None = None,
        progress: Callable[[TransferProgress], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> Version:
        """Sends the files at a path and registers them as the next version of `version.model`."""
        return push(
            self._caller,
            Registration(version, tuple(aliases), reason),
            path,
            progress=progress,
            cancel=cancel or CancelToken(),
        )

    def pull(
        self,
        reference: str,
        destination: Path,
        *,
        overwrite: bool = False,
        progress: Callable[[TransferProgress], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> PulledVersion:
        """Puts the files of the version that a reference names now into a directory."""
        cancel = cancel or CancelToken()
        return self.fetch(
            get_manifest(self._caller, reference, cancel=cancel),
            destination,
            overwrite=overwrite,
            progress=progress,
            cancel=cancel,
        )

    def fetch(
        self,
        manifest: VersionManifest,
        destination: Path,
        *,
        overwrite: bool = False,
        progress: Callable[[TransferProgress], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> PulledVersion:
        """Puts the files of a manifest, which `get_manifest` has checked, into a directory."""
        return fetch_files(
            self._caller,
            manifest,
            destination,
            cache=self._cache(),
            overwrite=overwrite,
            progress=progress,
            cancel=cancel or CancelToken(),
        )

    def get_manifest(self, reference: str, *, cancel: CancelToken | None = None) -> VersionManifest:
        """Reads the manifest of a version and checks its rules and its digest."""
        return get_manifest(self._caller, reference, cancel=cancel or CancelToken())

    def verify_copy(
        self, reference: str, path: Path, *, cancel: CancelToken | None = None
    ) -> CopyReport:
        """Compares a local directory with the version that a reference names now."""
        if not path.is_dir():
            raise SourceNotFound(f"There is no directory at {path}.")
        manifest = get_manifest(self._caller, reference, cancel=cancel or CancelToken())
        return compare_directory(path, manifest.manifest)

    def open_file(
        self, reference: str, path: str, *, cancel: CancelToken | None = None
    ) -> io.BufferedReader:
        """Opens one file of the version that a reference names now."""
        cancel = cancel or CancelToken()
        check_path(path)
        manifest = get_manifest(self._caller, reference, cancel=cancel)
        file = next((file for file in manifest.manifest.files if file.path == path), None)
        if file is None:
            raise FileNotFound(f"{manifest.model}:{manifest.version} has no file {path!r}.")
        source = ChunkSource(
            self._caller,
            model=manifest.model,
            version=manifest.version,
            cache=self._cache(),
            cancel=cancel,
        )
        return io.BufferedReader(RemoteFile(file, source))
