"""Checks that a directory holds exactly what a manifest says."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from herdbook.core.values import CopyReport, File, Manifest
from herdbook.errors import SourceInvalid
from herdbook.files import open_at_once
from herdbook.transfer.sources import find_files, unreadable


def verify_directory(directory: Path, manifest: Manifest) -> bool:
    """Whether the directory holds the manifest's files, by these very names, and no other file."""
    try:
        found = {own_name for _, _, own_name in _find(directory)}
        return found == {file.path for file in manifest.files} and all(
            _is_whole(directory.joinpath(*file.path.split("/")), file) for file in manifest.files
        )
    except SourceInvalid:
        return False


def compare_directory(directory: Path, manifest: Manifest) -> CopyReport:
    """Tells in which files the directory differs from the manifest; as a push would find them.

    Raises:
        SourceInvalid: Something cannot be read.
    """
    expected = {file.path: file for file in manifest.files}
    found = _by_name(directory)
    damaged = [
        path for path in found.keys() & expected if not _is_whole(found[path], expected[path])
    ]
    return CopyReport(
        missing=tuple(sorted(expected.keys() - found.keys())),
        damaged=tuple(sorted(damaged)),
        foreign=tuple(sorted(found.keys() - expected.keys())),
    )


def _by_name(directory: Path) -> dict[str, Path]:
    """Return files by the names that a push gives them; where two have one, the other by its own.

    Such names differ in their Unicode form alone.
    """
    found: dict[str, Path] = {}
    for local, name, own_name in sorted(_find(directory), key=lambda each: each[1] != each[2]):
        found[own_name if name in found else name] = local
    return found


def _find(directory: Path) -> list[tuple[Path, str, str]]:
    """Return files, each with the name that a push gives it, and its own."""
    try:
        return [
            (local, name, local.relative_to(directory).as_posix())
            for local, name in find_files(directory)
        ]
    except OSError as error:
        raise unreadable(directory, error) from error


def _is_whole(path: Path, file: File) -> bool:
    """Whether a local file has the bytes that a manifest says."""
    try:
        with open(path, "rb", buffering=0, opener=open_at_once) as opened:
            status = os.fstat(opened.fileno())
            return (
                stat.S_ISREG(status.st_mode)
                and status.st_size == file.size_bytes
                and all(
                    hashlib.sha256(opened.read(chunk.size_bytes)).digest() == chunk.sha256
                    for chunk in file.chunks
                )
            )
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
