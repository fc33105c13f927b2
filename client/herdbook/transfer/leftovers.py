"""What killed pulls leave beside their destinations, told from what pulls under way have there."""

from __future__ import annotations

import errno
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from herdbook.locks import FileLock, try_lock
from herdbook.transfer.mounts import remove_tree

_NAME_BYTES: Final = 200
_TRIES: Final = 100
_STAGED: Final = ".herdbook-partial"
_LOCK: Final = ".herdbook-lock"
_ASIDE: Final = ".herdbook-old"
_LOCKS: Final = re.compile(rf"\..*\.[0-9a-f]{{16}}\{_LOCK}", re.DOTALL)


class Claim:
    """A new directory that belongs to a pull under way; a claim of a process that dies is void.

    A lock on a file beside it says so. On the directory itself it would be known to this host
    alone where other hosts share the file system.
    """

    def __init__(self, destination: Path) -> None:
        """Makes the directory beside its destination."""
        self._destination = destination
        self._lock: FileLock | None = None
        if not any(self._take(self._new_path(_LOCK)) for _ in range(_TRIES)):
            raise BlockingIOError(errno.EAGAIN, "Others lock every new file", str(destination))
        try:
            self.directory.mkdir()
        except BaseException:
            self.release()
            raise

    def _take(self, lock: Path) -> bool:
        """Makes the file; returns False if another pull takes that for a leftover."""
        self._lock_path = lock
        self.directory = lock.with_suffix(_STAGED)
        try:
            self._lock = try_lock(lock, exclusive=True)
        except OSError:
            # Without one, it is no leftover to anybody.
            with suppress(OSError):
                lock.unlink()
            return True
        return self._lock is not None

    def new_aside(self) -> Path:
        """Makes up a name beside the destination for what is moved out of the way."""
        return self._new_path(_ASIDE)

    def _new_path(self, suffix: str) -> Path:
        name = f".{_cut(self._destination.name)}.{secrets.token_hex(8)}{suffix}"
        return self._destination.with_name(name)

    def release(self) -> None:
        """Removes the directory, if it is still there, and lets go of it.

        What cannot be removed now is left to the next pull.
        """
        _remove(self.directory, self._lock_path)
        if self._lock is not None:
            self._lock.release()


def sweep(parent: Path) -> None:
    """Removes what killed pulls have left in a directory, as far as that can be told and done."""
    with suppress(OSError):
        for path in parent.iterdir():
            if _LOCKS.fullmatch(path.name):
                _remove_unclaimed(path)


def _remove_unclaimed(path: Path) -> None:
    with suppress(OSError):
        lock = try_lock(path, exclusive=True, create=False)
        if lock is not None:
            with lock:
                _remove(path.with_suffix(_STAGED), path)


def _remove(directory: Path, lock_path: Path) -> None:
    remove_tree(directory)
    # The lock tells the next pull of what is left.
    with suppress(OSError):
        if not os.path.lexists(directory):
            lock_path.unlink(missing_ok=True)


def _cut(name: str) -> str:
    while len(os.fsencode(name)) > _NAME_BYTES:
        name = name[:-1]
    return name
