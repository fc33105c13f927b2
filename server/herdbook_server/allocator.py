"""The memory that a server's process gets from the system, and keeps."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

# Of malloc.h; see mallopt(3).
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8

_MIB: Final = 1024 * 1024

SETTINGS: Final = {_MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB, _ARENA_MAX: 2}


def keep_freed_memory() -> bool:
    """Have the C library use freed memory again; returns whether it does so by our doing.

    Chunks come and go by the thousand. As glibc starts out, each one is memory that is new to the
    process, whose pages the kernel has to clear, and each thread has an arena of its own to grow.
    Call it before there are threads. Environment variables of glibc's have the last word, and
    other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    outcomes = [mallopt(option, value) for option, value in SETTINGS.items()]
    return all(outcomes)
