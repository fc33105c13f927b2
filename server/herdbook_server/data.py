"""The data directory: made when missing, and used by one server at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

if os.name == "posix":
    import fcntl

LOCK = "server.lock"
DATABASE = "herdbook.sqlite3"
ARTIFACTS = "artifacts"


class DataDirectoryUnusable(Exception):
    """The data directory cannot be used; the sentence says why."""


@contextlib.contextmanager
def held(directory: Path) -> Iterator[Path]:
    """Make the directory if need be, and keep other servers off it until the block ends.

    Raises:
        DataDirectoryUnusable: It cannot be written, or another server holds it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DataDirectoryUnusable(
            f"The data directory {directory} cannot be written: {error.strerror}."
        ) from error
    try:
        _lock(descriptor, directory)
        yield directory
    finally:
        # Closing lets go of the lock; the file stays, as another server may be about to lock it.
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    if os.name != "posix":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        raise DataDirectoryUnusable(
            f"Another server (process {holder}) uses the data directory {directory}."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
