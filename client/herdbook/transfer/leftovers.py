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
_SUFFIX = ".herdbook-partial"
_TOKEN_CHARACTERS = 16
_STAGED = re.compile(rf"\..*\.[0-9a-f]{{{_TOKEN_CHARACTERS}}}\{_SUFFIX}", re.DOTALL)


class Claim:
    """A new directory that belongs to a pull under way; a claim of a process that dies is void."""

    def __init__(self, destination: Path) -> None:
        """Makes the directory beside its destination."""
        while True:
            name = f".{_cut(destination.name)}.{_token()}{_SUFFIX}"
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
                with contextlib.suppress(OSError):
                    self.directory.rmdir()
                continue
            except OSError:  # a file system without locks
                pass
            if _is_at(self.directory, self._descriptor):
                return
            # Another pull took it for a leftover before it was locked.
            self.release()

    def new_aside(self) -> Path:
        """Makes up a name beside the destination for what is moved out of the way."""
        return self.directory.with_name(
            f"{self.directory.stem[:-_TOKEN_CHARACTERS]}{_token()}.herdbook-old"
        )

    def release(self) -> None:
        """Lets go of the directory, wherever it is now; again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def sweep(parent: Path) -> None:
    """Removes what killed pulls have left in a directory, as far as that can be told and done."""
    with contextlib.suppress(OSError):
        for path in parent.iterdir():
            if _STAGED.fullmatch(path.name):
                _remove_unclaimed(path)


def _token() -> str:
    return secrets.token_hex(_TOKEN_CHARACTERS // 2)


def _cut(name: str) -> str:
    while len(os.fsencode(name)) > _NAME_BYTES:
        name = name[:-1]
    return name


def _remove_unclaimed(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = _open(path)
        try:
            _lock(descriptor)
            # It may have taken its place meanwhile.
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
