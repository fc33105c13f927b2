"""Files as they are read, and made to last, where others may do as they like."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

_SYNCS_AT_ONCE: Final = 8
"""Disks make several durable in little more time than one."""

NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)
"""Opens a pipe that somebody has put in the place of a file, and does not wait for its bytes."""


def read_at_most(path: Path, max_bytes: int) -> bytes:
    """Reads a file that should not be longer.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb", buffering=0, opener=open_at_once) as file:
        return file.read(max_bytes) or b""


def open_at_once(path: str, flags: int) -> int:
    """Opens a file for `open`; a pipe in its place is not waited for."""
    return os.open(path, flags | NO_WAIT)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Writes bytes to a place in a file, and has the system begin to bring them to the disk.

    A sync that follows has less to wait for: by itself, Linux begins when a tenth of the memory
    waits to be written.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
    if sys.platform == "linux":
        # Of what is dirty this drops nothing, and starts to write it: see mm/fadvise.c.
        start = offset - len(data)
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, start, len(data), os.POSIX_FADV_DONTNEED)


def sync(path: Path) -> None:
    """Makes a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """Makes files, or the names in directories, durable.

    Raises:
        OSError: One of them could not be.
    """
    with ThreadPoolExecutor(_SYNCS_AT_ONCE, thread_name_prefix="herdbook-sync") as threads:
        for _ in threads.map(sync, paths):
            pass
