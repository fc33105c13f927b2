"""Two directories that change places at once, for which Python has no function."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Final

UNSUPPORTED: Final = frozenset(
    {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}
)
"""Errors that say that a file system, or the operating system, cannot exchange."""

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
"""Of renameat2(2); `RENAME_SWAP` of macOS' renamex_np(2) has the same number."""


def exchange(path: Path, other: Path) -> None:
    """Has what two paths name change places: at no instant is there nothing at one of them.

    Raises:
        OSError: They could not; `errno` is among `UNSUPPORTED` where nothing can.
    """
    names = os.fsencode(path), os.fsencode(other)
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = library.renamex_np(*names, _RENAME_EXCHANGE)
        else:
            failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    except (AttributeError, ImportError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(path)) from None
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path), None, str(other))
