"""Where things lie in the cache directory."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from herdbook.files import sync

PREFIX = "sha256:"
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one cache directory.

    A version is known here by the 64 hex digits of its digest.
    """

    root: Path

    @property
    def versions(self) -> Path:
        """Whole versions: `<hex>/manifest` and `<hex>/files/…`, each put there by one rename."""
        return self.root / "versions"

    @property
    def incoming(self) -> Path:
        """Versions that are being fetched, laid out alike; the next fetch uses what one leaves."""
        return self.root / "incoming"

    @property
    def chunks(self) -> Path:
        """Chunks that belong to no version here: `ab/<hex of the chunk>`."""
        return self.root / "chunks"

    @property
    def good(self) -> Path:
        """Records of what served last: one JSON file for each server and reference."""
        return self.root / "last-known-good"

    @property
    def locks(self) -> Path:
        """Lock files; the time of a `.use` file is when its version was last used."""
        return self.root / "locks"

    @property
    def evict_lock(self) -> Path:
        """Held by the process that makes room."""
        return self.locks / "evict"

    def use_lock(self, digest_hex: str) -> Path:
        """Held shared by those who use or fetch the version, exclusively by who deletes it."""
        return self.locks / f"{digest_hex}.use"

    def fetch_lock(self, digest_hex: str) -> Path:
        """Held by the one who fetches or repairs the version."""
        return self.locks / f"{digest_hex}.fetch"

    def chunk(self, digest: bytes) -> Path:
        """Returns where a loose chunk lies."""
        name = digest.hex()
        return self.chunks / name[:2] / name

    def record(self, server: str, reference: str) -> Path:
        """Returns where it is recorded what served last for a reference on a server."""
        key = hashlib.sha256(f"{server}\n{reference}".encode()).hexdigest()
        return self.good / f"{key}.json"

    def prepare(self) -> None:
        """Makes the directories."""
        for directory in (self.versions, self.incoming, self.chunks, self.good, self.locks):
            directory.mkdir(parents=True, exist_ok=True)


def digest_hex(digest: str) -> str:
    """Returns the hex digits of a version's digest.

    Raises:
        ValueError: It is no digest.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest[:100]!r} is no digest of a version")
    return digest.removeprefix(PREFIX)


def write_atomically(path: Path, data: bytes) -> None:
    """Puts a file in place: readers, also after a crash, find all of it or what was there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def kind_of(path: str | os.PathLike[str]) -> int | None:
    """Returns what is at a path itself, as `stat.S_IFMT` tells it; None if nothing is."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None


def children(directory: Path) -> list[Path]:
    """Returns what lies in a directory, by name; nothing if there is none, or none to be read."""
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def remove_whatever(path: Path) -> None:
    """Removes what is at a path, of whatever kind, and follows no link; nothing is fine too.

    What can be removed is, and only then what could not be is raised.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    failures: list[BaseException] = []
    shutil.rmtree(path, onerror=lambda _function, _path, raised: failures.append(raised[1]))
    if failures:
        raise failures[0]


def touch(path: Path) -> None:
    """Notes that something is used now; exactly, since the system's own stamps tick slowly."""
    now_ns = time.time_ns()
    os.utime(path, ns=(now_ns, now_ns))
