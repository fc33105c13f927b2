"""What can go wrong with the local cache."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from herdbook.errors import FailedPrecondition, LocalDiskFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CacheUnavailable(FailedPrecondition):
    """The cache directory cannot be used."""


@contextlib.contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turns what the system says about the cache below `root` into errors that say what to do.

    Raises:
        LocalDiskFull: There is no space left.
        CacheUnavailable: It cannot be read or written, such as on a read-only file system.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise LocalDiskFull(
                f"There is no space left for the cache at {root}: {error}."
            ) from error
        raise CacheUnavailable(
            f"The cache at {root} cannot be used: {error}. "
            "Give another directory, or set HERDBOOK_CACHE_DIR."
        ) from error
