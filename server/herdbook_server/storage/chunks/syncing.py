"""How written files and their names become durable: one by one, or all of a group at once."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import platform
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

if sys.platform == "darwin":
    import fcntl

_TRUSTED: Final = frozenset({"btrfs", "ext3", "ext4", "tmpfs", "xfs"})
"""File systems whose syncfs waits for all of it; that of FUSE and overlays may not."""

_TELLS_ERRORS_SINCE: Final = (5, 17)
"""The Linux whose syncfs tells errors of bytes (since 5.8, says its manual) and of file systems."""

_MOUNTS = Path("/proc/self/mountinfo")
_MOUNT_POINT, _AFTER_OPTIONAL = 4, b" - "
_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""How the kernel writes white space and backslashes in names of mount points."""


class Syncing:
    """Makes durable what is written within its block.

    On a local file system of Linux one syncfs, and a sync of one of them, stands for a sync of
    each file and of each directory, and costs little more than one. Everything else on the file
    system is written, too.
    """

    def __init__(self, root: Path, *, at_once: bool) -> None:
        """Will sync files below `root`; at once only where `can_sync_at_once` says so."""
        self._root = root
        self._at_once = at_once
        self._descriptor = -1

    def __enter__(self) -> Self:
        # Opened before anything is written: it tells the errors that come after that.
        self._descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def files(self, paths: Collection[str]) -> None:
        """Wait until the bytes of files are on disk."""
        for path in self._to_sync(paths):
            _sync(path, os.O_RDONLY)

    def directories(self, paths: Collection[str]) -> None:
        """Wait until the names in directories are on disk."""
        for path in self._to_sync(paths):
            sync_directory(path)

    def _to_sync(self, paths: Collection[str]) -> Iterable[str]:
        """Return which of them are still to be synced, one by one."""
        if not self._at_once:
            return paths
        sync_file_system(self._descriptor)
        # Once its journal has failed, ext4 says nothing at syncfs before Linux 6.13: a file tells.
        return itertools.islice(paths, 1)


def start_writing(descriptor: int) -> None:
    """Have the system begin to bring a file to the disk, so that a sync has less to wait for.

    By itself, Linux begins when a tenth of the memory waits to be written.
    """
    if sys.platform == "linux":
        # Of what is dirty this drops nothing, and starts to write it: see mm/fadvise.c.
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_directory(path: str | Path) -> None:
    """Wait until the names in a directory are on disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file_system(descriptor: int) -> None:
    """Wait until everything on a file's file system is on disk."""
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def can_sync_at_once(root: Path) -> bool:
    """Tell whether syncfs keeps its promise for the file system of an existing directory."""
    if sys.platform != "linux" or _kernel() < _TELLS_ERRORS_SINCE:
        return False
    try:
        return _file_system(root.resolve()) in _TRUSTED
    except OSError:
        return False


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", platform.release())[:2]))


def _file_system(path: Path) -> str:
    """Return the kind of file system that a path is on, as the kernel names it."""
    kinds: dict[Path, str] = {}
    for line in _MOUNTS.read_bytes().rstrip(b"\n").split(b"\n"):
        mount, _, rest = line.partition(_AFTER_OPTIONAL)
        point = _ESCAPED.sub(_unescaped, mount.split(b" ")[_MOUNT_POINT])
        kinds[Path(os.fsdecode(point))] = os.fsdecode(rest.split(b" ")[0])
    return next((kinds[above] for above in (path, *path.parents) if above in kinds), "")


def _unescaped(code: re.Match[bytes]) -> bytes:
    return bytes([int(code[1], 8)])


def _sync(path: str | Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        if sys.platform == "darwin":
            # There fsync only hands the bytes to the drive, which may keep them in its cache.
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
