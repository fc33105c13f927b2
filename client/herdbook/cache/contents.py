"""Which chunk lies where in the files of a version, and whether it does."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from herdbook.cache.layout import kind_of
from herdbook.core.values.artifacts import ChunkRef, File
from herdbook.errors import Cancelled
from herdbook.files import NO_WAIT, write_at

_WORKERS = min(4, os.cpu_count() or 1)
_SPAN_CHUNKS = 32
_BATCH = 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a file that holds, or is to hold, a chunk."""

    path: Path
    offset: int
    chunk: ChunkRef

    def read(self) -> bytes | None:
        """Returns the chunk if its bytes are here; None if the file holds something else."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | NO_WAIT)
            try:
                data = os.pread(descriptor, self.chunk.size_bytes, self.offset)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return data if hashlib.sha256(data).digest() == self.chunk.sha256 else None

    def write(self, data: bytes | memoryview) -> None:
        """Puts the chunk here; the file is there already."""
        with self.path.open("r+b", buffering=0) as file:
            write_at(file.fileno(), data, self.offset)


def stretches(files: Iterable[File], root: Path) -> Iterator[Stretch]:
    """Yields where each chunk of `files` lies below `root`."""
    for file in files:
        path = root / file.path
        offset = 0
        for chunk in file.chunks:
            yield Stretch(path, offset, chunk)
            offset += chunk.size_bytes


def is_well_formed(directory: Path, files: Iterable[File]) -> bool:
    """Whether a version's directory holds what it holds as regular files in real directories.

    Something that is missing is no fault here, nor is what a file contains; a link is one, since
    what is written through it ends up elsewhere.
    """
    root = f"{directory}/files"
    paths = [file.path for file in files]
    above = {path[:at] for path in paths for at in range(len(path)) if path[at] == "/"}
    return (
        all(kind_of(path) in (None, stat.S_IFDIR) for path in (directory, root))
        and kind_of(directory / "manifest") in (None, stat.S_IFREG)
        and all(kind_of(f"{root}/{path}") in (None, stat.S_IFDIR) for path in above)
        and all(kind_of(f"{root}/{path}") in (None, stat.S_IFREG) for path in paths)
    )


def strays(root: Path, files: Iterable[File]) -> Iterator[Path]:
    """Yields what lies below `root` besides `files`: a loader may well take all that it finds."""
    paths = {file.path for file in files}
    above = {path[:at] for path in paths for at in range(len(path)) if path[at] == "/"}
    for parent, directories, names in os.walk(root):
        prefix = "" if parent == str(root) else f"{Path(parent).relative_to(root).as_posix()}/"
        yield from (Path(parent) / name for name in names if prefix + name not in paths)
        foreign = [name for name in directories if prefix + name not in above]
        yield from (Path(parent) / name for name in foreign)
        directories[:] = [name for name in directories if name not in foreign]


def damaged_files(
    files: Iterable[File], root: Path, *, cancelled: Callable[[], bool]
) -> list[File]:
    """Hashes `files` below `root` and returns those that are missing or hold something else.

    Raises:
        Cancelled: `cancelled` said so.
    """
    damaged: dict[str, File] = {}

    def check(part: tuple[File, list[Stretch]]) -> None:
        file, span = part
        if file.path in damaged:
            return
        if cancelled():
            raise Cancelled("Checking the cache was given up.")
        if any(stretch.read() is None for stretch in span):
            damaged[file.path] = file

    whole = []
    for file in files:
        if _size(root / file.path) == file.size_bytes:
            whole.append(file)
        else:
            damaged[file.path] = file
    _on_threads(check, (span for file in whole for span in _spans(file, root)))
    return list(damaged.values())


def copy_chunks(
    wanted: Iterable[tuple[Stretch, Stretch]], *, cancelled: Callable[[], bool]
) -> set[Stretch]:
    """Copies chunks between local files and returns the stretches that hold theirs now, verified.

    Args:
        wanted: Pairs each stretch to fill with one that may hold its chunk.
        cancelled: Asked now and then whether to give up.

    Raises:
        Cancelled: `cancelled` said so.
    """
    filled: set[Stretch] = set()

    def copy(pair: tuple[Stretch, Stretch]) -> None:
        target, source = pair
        if cancelled():
            raise Cancelled("Filling the cache was given up.")
        data = source.read()
        if data is None:
            return
        if source != target:
            target.write(data)
        filled.add(target)

    _on_threads(copy, wanted)
    return filled


def _on_threads(act: Callable[[T], None], items: Iterable[T]) -> None:
    remaining = iter(items)
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="herdbook-cache") as threads:
        # In batches, since every item of a batch costs memory at once.
        while batch := list(islice(remaining, _BATCH)):
            for _ in threads.map(act, batch):
                pass


def _spans(file: File, root: Path) -> Iterator[tuple[File, list[Stretch]]]:
    remaining = stretches([file], root)
    while span := list(islice(remaining, _SPAN_CHUNKS)):
        yield file, span


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
