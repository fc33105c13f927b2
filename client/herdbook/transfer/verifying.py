"""Checks that a directory holds exactly what a manifest says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from herdbook.core.values import CopyReport, File, Manifest


def verify_directory(directory: Path, manifest: Manifest) -> bool:
    """Whether the directory holds every byte of the manifest's files, and nothing else."""
    expected = {file.path for file in manifest.files}
    if set(_paths(directory)) != expected:
        return False
    return all(_is_whole(directory, file) for file in manifest.files)


def compare_directory(directory: Path, manifest: Manifest) -> CopyReport:
    """Tells in which files the directory differs from the manifest."""
    expected = {file.path: file for file in manifest.files}
    found = set(_paths(directory))
    damaged = [path for path in found & expected.keys() if not _is_whole(directory, expected[path])]
    return CopyReport(
        missing=tuple(sorted(expected.keys() - found)),
        damaged=tuple(sorted(damaged)),
        foreign=tuple(sorted(found - expected.keys())),
    )


def _is_whole(directory: Path, file: File) -> bool:
    return verify_file(directory.joinpath(*file.path.split("/")), file)


def _paths(directory: Path) -> Iterator[str]:
    for parent, _, names in os.walk(directory):
        for name in names:
            yield (Path(parent) / name).relative_to(directory).as_posix()


def verify_file(path: Path, file: File) -> bool:
    """Whether a local file has the bytes that a manifest says."""
    try:
        with path.open("rb", buffering=0) as opened:
            if os.fstat(opened.fileno()).st_size != file.size_bytes:
                return False
            return all(
                hashlib.sha256(opened.read(chunk.size_bytes)).digest() == chunk.sha256
                for chunk in file.chunks
            )
    except OSError:
        return False
