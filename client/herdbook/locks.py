"""Locks on files between processes; a lock of a process that dies vanishes with it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from herdbook.errors import Cancelled

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_POLL_SECONDS = 0.05


class FileLock:
    """A held lock on a file; release it once, or use it in a `with` statement.

    It belongs to the process that took it: a child that is forked meanwhile neither holds nor
    releases it.
    """

    __slots__ = ("_descriptors", "_process")

    def __init__(self, descriptor: int) -> None:
        """Takes over a descriptor that is locked."""
        # To pop is what only one of several threads can do.
        self._descriptors = [descriptor]
        self._process = os.getpid()

    @property
    def held(self) -> bool:
        """Whether it has not been released."""
        return bool(self._descriptors)

    def is_at(self, path: Path) -> bool:
        """Whether the file at `path` is the one that is locked: it may have been removed."""
        return any(_is_at(path, descriptor) for descriptor in self._descriptors)

    def release(self) -> None:
        """Lets go; again does nothing."""
        try:
            descriptor = self._descriptors.pop()
        except IndexError:
            return
        try:
            if os.getpid() == self._process:
                # To close is not enough: a child that was forked meanwhile has it open too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def try_lock(path: Path, *, exclusive: bool, create: bool = True) -> FileLock | None:
    """Locks the file at `path`, made if need be; returns None if somebody holds it otherwise.

    A link in its place is not followed.

    Raises:
        OSError: The file cannot be made, or locked; `ENOSYS` where the system has no such locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, "This operating system has no file locks", str(path))
    how = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(descriptor, how)
            deleted = not _is_at(path, descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if not deleted:
            return FileLock(descriptor)
        # Whoever deleted the file held it; another file is the lock now.
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


def wait_for_lock(path: Path, *, exclusive: bool, cancelled: Callable[[], bool]) -> FileLock:
    """Locks the file at `path`, waiting for those who hold it.

    Raises:
        Cancelled: `cancelled` said so.
    """
    while True:
        if cancelled():
            raise Cancelled("Waiting for the cache was given up.")
        lock = try_lock(path, exclusive=exclusive)
        if lock is not None:
            return lock
        time.sleep(_POLL_SECONDS)
