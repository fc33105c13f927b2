"""The files that a push finds on this machine."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from herdbook.core.cutting import cut_file
from herdbook.core.manifests import (
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    MAX_FILE_CHUNKS,
    MAX_FILES,
    check_path,
)
from herdbook.errors import SourceChanged, SourceInvalid, SourceNotFound


@dataclass(slots=True)
class Source:
    """A file to push, and what was found of its chunks so far."""

    path: str
    """Where it goes below the version's root."""

    local: Path
    size_bytes: int
    stamp: tuple[int, int, int]
    """Changes when somebody writes to the file."""

    sha256: list[bytes] = field(default_factory=list)
    """The digests of its chunks; empty where not yet known."""

    cuts: list[int] = field(default_factory=list)
    """The sizes of its chunks."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk to be: a part of a file."""

    source: Source
    number: int
    offset: int
    size_bytes: int


def find_sources(path: Path) -> list[Source]:
    """Lists the files below a directory, or the one file; follows symbolic links.

    Raises:
        PathInvalid: A file's name cannot be stored.
        SourceInvalid: There is no file in the directory, or something that is no file, or more
            than a version holds, or a symbolic link leads back to where it came from.
        SourceNotFound: There is nothing at the path.
    """
    try:
        found = find_files(path) if path.is_dir() else [(path, _normal(path.name))]
        sources = [_source(local, name) for local, name in found]
    except FileNotFoundError as error:
        raise SourceNotFound(f"There is nothing at {error.filename or path}.") from error
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise SourceInvalid(f"{str(path)!r} is no path: {error}.") from error
    if not 1 <= len(sources) <= MAX_FILES:
        raise SourceInvalid(
            f"{path} holds {len(sources):,} files; a version has 1 to {MAX_FILES:,}."
        )
    _check_sizes(sources)
    return sources


def _check_sizes(sources: list[Source]) -> None:
    """Refuses, before anything is sent, what makes too many chunks however it is cut."""
    for source in sources:
        if source.size_bytes > MAX_FILE_CHUNKS * MAX_CHUNK_BYTES:
            raise SourceInvalid(
                f"{source.local} has {source.size_bytes:,} bytes; a file of a version has at most "
                f"{MAX_FILE_CHUNKS * MAX_CHUNK_BYTES:,}."
            )
    if sum(-(-source.size_bytes // MAX_CHUNK_BYTES) for source in sources) > MAX_CHUNKS:
        raise SourceInvalid(
            f"The files are too large for one version: it has at most {MAX_CHUNKS:,} chunks of "
            f"{MAX_CHUNK_BYTES:,} bytes."
        )


def unreadable(path: Path, error: OSError) -> SourceInvalid:
    """Makes the error of something that is there and cannot be read."""
    return SourceInvalid(f"{error.filename or path} cannot be read: {error.strerror}.")


def find_files(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yields what is no directory below a directory, and its path from there as a version has it.

    Raises:
        SourceInvalid: A symbolic link leads back to where it came from.
        OSError: A directory cannot be read.
    """
    return _walk(directory, "", ())


def _walk(
    directory: Path, prefix: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[Path, str]]:
    status = directory.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        raise SourceInvalid(f"{directory} is a symbolic link to a directory that holds it.")
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        local = directory / entry.name
        if entry.is_dir():
            yield from _walk(local, f"{prefix}{entry.name}/", (*above, identity))
        else:
            yield local, _normal(prefix + entry.name)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _source(local: Path, name: str) -> Source:
    status = local.stat()
    if not stat.S_ISREG(status.st_mode):
        raise SourceInvalid(f"{local} is no regular file.")
    return Source(check_path(name), local, status.st_size, _stamp(status))


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


class OpenSource:
    """Reads pieces of one file; may be used by one thread."""

    def __init__(self, source: Source) -> None:
        """Opens the file.

        Raises:
            SourceChanged: It is no longer the file that was found.
            SourceInvalid: It cannot be read.
        """
        self.source = source
        try:
            self._descriptor = os.open(source.local, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError as error:
            raise self._changed("it is gone") from error
        except OSError as error:
            raise unreadable(source.local, error) from error
        try:
            self.check()
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Reads a part.

        Raises:
            SourceChanged: The file is shorter than it was, or cannot be read.
        """
        try:
            data = os.pread(self._descriptor, size_bytes, offset)
            while 0 < len(data) < size_bytes:
                more = os.pread(self._descriptor, size_bytes - len(data), offset + len(data))
                data = data + more if more else b""
        except OSError as error:
            raise self._changed(error.strerror) from error
        if len(data) != size_bytes:
            raise self._changed("it is shorter than it was")
        return data

    def check(self) -> None:
        """Checks that the file is the one that was found, unchanged.

        Raises:
            SourceChanged: It is not.
        """
        if _stamp(os.fstat(self._descriptor)) != self.source.stamp:
            raise self._changed("somebody writes to it")

    def _changed(self, fact: str | None) -> SourceChanged:
        return SourceChanged(f"{self.source.local} changed while it was pushed: {fact}.")

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


def pieces(sources: list[Source]) -> Iterator[Piece]:
    """Cuts the files, one after the other, and yields their parts."""
    for source in sources:
        source.cuts = _cuts(source)
        source.sha256 = [b""] * len(source.cuts)
        offset = 0
        for number, size_bytes in enumerate(source.cuts):
            yield Piece(source, number, offset, size_bytes)
            offset += size_bytes


def _cuts(source: Source) -> list[int]:
    return cut_file(source.path, source.size_bytes, partial(_read, source))


def _read(source: Source, offset: int, size_bytes: int) -> bytes:
    opened = OpenSource(source)
    try:
        return opened.read(offset, size_bytes)
    finally:
        opened.close()
