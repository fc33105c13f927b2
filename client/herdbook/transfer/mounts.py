"""Where file systems are mounted, which no pull may replace or empty."""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from herdbook.errors import DestinationUnusable

_MOUNTS: Final = Path("/proc/self/mountinfo")
_MOUNT_POINT: Final = 4
"""Which word of a line, as proc_pid_mountinfo(5) has it."""
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


def check_mounts(directory: Path) -> None:
    """Checks that nothing is mounted at a directory or below it.

    Raises:
        DestinationUnusable: Something is.
    """
    mounted = _mount_point_in(directory)
    if mounted is not None:
        raise DestinationUnusable(
            f"{mounted} is a mount point, which cannot be replaced: name a directory without."
        )


def remove_tree(directory: Path) -> None:
    """Removes a directory as far as it can be, unless something is mounted in it."""
    # Before Python 3.12, rmtree opens whatever is there, and waits at a FIFO.
    if _is_directory(directory) and _mount_point_in(directory) is None:
        shutil.rmtree(directory, ignore_errors=True)


def _is_directory(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(path.lstat().st_mode)
    return False


def _mount_point_in(directory: Path) -> Path | None:
    """Returns a mount point that a directory is, or that lies in it; None if there is none.

    Only Linux tells of those that lie in it, and of those of a directory's own file system.
    """
    if os.path.ismount(directory):
        return directory
    real = os.path.realpath(directory)
    with suppress(OSError):
        # What else is space to Python may be in a name.
        for line in _MOUNTS.read_bytes().split(b"\n")[:-1]:
            name = line.split(b" ")[_MOUNT_POINT]
            point = Path(os.fsdecode(_ESCAPED.sub(_character, name)))
            if point.is_relative_to(real):
                return point
    return None


def _character(escaped: re.Match[bytes]) -> bytes:
    return bytes([int(escaped[1], base=8)])
