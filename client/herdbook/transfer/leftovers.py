"""What killed pulls leave beside their destinations, told from what pulls under way have there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NAME_BYTES = 200
_STAGED_SUFFIX = ".herdbook-partial"
_REPLACED_SUFFIX = ".herdbook-old"
_STAGED = re.compile(rf"\..*\.[0-9a-f]{{16}}\{_STAGED_SUFFIX}", re.DOTALL)
_REPLACED = re.compile(rf"\.(.+\.)?[0-9a-f]{{16}}\{_REPLACED_SUFFIX}", re.DOTALL)


class Claim:
    """A new directory that belongs to a pull under way; a claim of a process that dies is void."""

    def __init__(self, destination: Path) -> None:
        """Makes the directory beside its destination."""
        while True:
            name = f".{_cut(destination.name)}.{secrets.token_hex(8)}{_STAGED_SUFFIX}"
            self.directory = destination.parent / name
            self.directory.mkdir()
            try:
                self._descriptor = _open(self.directory)
            except FileNotFoundError:
                continue
            try:
                _lock(self._descriptor)
            except BlockingIOError:
                # Another pull looks whether it is a leftover, and may be removing it.
                self.release()
                continue
            except OSError:  # a file system without locks
                pass
            if _is_at(self.directory, self._descriptor):
                return
            # Another pull took it for a leftover before it was locked.
            self.release()

    @property
    def replaced(self) -> Path:
        """Where what this replaces lies, until it is removed.

        While the directory has not taken its place, that is the user's: sweeping puts it back.
        """
        return self.directory.with_suffix(_REPLACED_SUFFIX)

    def forget_replaced(self) -> None:
        """Removes what was moved aside, which something else has replaced."""
        # Under a name of its own first: half of it is not to be put back.
        doomed = self.replaced.with_name(f".{secrets.token_hex(8)}{_REPLACED_SUFFIX}")
        with contextlib.suppress(FileNotFoundError):
            self.replaced.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def put_back(self, destination: Path) -> None:
        """Gives what was moved aside its place again, if that is free and was not taken."""
        taken = not is_there(self.directory)
        if is_there(self.replaced) and not taken and not is_there(destination):
            self.replaced.rename(destination)

    def release(self) -> None:
        """Lets go of the directory, wherever it is now; again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_there(path: Path) -> bool:
    """Whether there is anything by that name.

    Raises:
        OSError: It cannot be told.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def sweep(parent: Path) -> None:
    """Removes what killed pulls have left in a directory, as far as that can be told and done.

    What one had moved aside, and had not replaced yet, goes back to where it was.
    """
    with contextlib.suppress(OSError):
        paths = list(parent.iterdir())
        for path in paths:
            if replaced := _REPLACED.fullmatch(path.name):
                _put_back_or_remove(path, (replaced[1] or "").removesuffix("."))
        for path in paths:
            # One that had something moved aside tells that this has not been replaced.
            moved_aside = path.with_suffix(_REPLACED_SUFFIX)
            if _STAGED.fullmatch(path.name) and not is_there(moved_aside):
                _remove_unclaimed(path)


def _cut(name: str) -> str:
    while len(os.fsencode(name)) > _NAME_BYTES:
        name = name[:-1]
    return name


def _may_be_cut(name: str) -> bool:
    # A character has four bytes at most.
    return len(os.fsencode(name)) > _NAME_BYTES - 4


def _put_back_or_remove(path: Path, name: str) -> None:
    staged = path.with_suffix(_STAGED_SUFFIX)
    with contextlib.suppress(OSError):
        destination = path.with_name(name or path.name)
        if not is_there(staged):
            # It has been replaced; whoever did so was removing it.
            shutil.rmtree(path, ignore_errors=True)
        elif not _is_claimed(staged) and not _may_be_cut(name) and not is_there(destination):
            path.rename(destination)


def _is_claimed(path: Path) -> bool:
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        # It has taken its place just now.
        return True
    try:
        _lock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_unclaimed(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = _open(path)
        try:
            _lock(descriptor)
            if _is_at(path, descriptor):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock(descriptor: int) -> None:
    """Locks a directory; raises OSError if somebody has it, or if it cannot be locked."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
