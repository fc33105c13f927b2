"""The rules of manifests: paths, limits, digest."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from herdbook.core.values import ChunkRef, File, Manifest
from herdbook.errors import ManifestInvalid, PathInvalid

MAX_CHUNK_BYTES: Final = 2 * 1024 * 1024
MAX_FILES: Final = 100_000
MAX_CHUNKS: Final = 400_000
MAX_FILE_CHUNKS: Final = 65_536
MAX_PATH_BYTES: Final = 1024
MAX_SEGMENT_BYTES: Final = 255
DIGEST_BYTES: Final = 32

HEADER: Final = b"herdbook-manifest-v1\n"


def manifest_of(files: Iterable[File]) -> Manifest:
    """Makes a manifest: sorts the files and checks every rule.

    Raises:
        ManifestInvalid: A limit is passed, or two files contradict each other.
        PathInvalid: A path must not be written.
    """
    manifest = Manifest(tuple(sorted(files, key=lambda file: _path_bytes(file.path))))
    _check_counts(manifest)
    _check_places(manifest)
    _check_chunks(manifest)
    return manifest


def digest_of(manifest: Manifest) -> str:
    """Returns the manifest's digest, as defined in `manifest.proto`."""
    digest = hashlib.sha256()
    for part in manifest_parts(manifest):
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def manifest_parts(manifest: Manifest) -> Iterator[bytes]:
    """Yields the bytes that the digest of a manifest is made of, part by part."""
    yield HEADER
    for file in manifest.files:
        path = file.path.encode()
        yield len(path).to_bytes(4) + path + len(file.chunks).to_bytes(4)
        for chunk in file.chunks:
            yield chunk.sha256 + chunk.size_bytes.to_bytes(4)


def check_path(path: str) -> str:
    """Returns the path of a file in a version.

    Raises:
        PathInvalid: It must not be written: it leaves the version's root, means different files on
            different systems, or is too long.
    """
    fault = _fault(path)
    if fault is not None:
        raise PathInvalid(f"The path {path[:200]!r} {fault}.")
    return path


def _fault(path: str) -> str | None:
    """Says what is wrong with a path."""
    segments = path.split("/")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "has a control character, or bytes that are no text"
    if not unicodedata.is_normalized("NFC", path):
        return "is not in Unicode's normal form NFC"
    if any(segment in ("", ".", "..") for segment in segments):
        return "is empty, absolute or not normalised"
    if "\\" in path or path[1:2] == ":":
        return "has a backslash or a drive letter"
    if len(path.encode()) > MAX_PATH_BYTES or any(
        len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments
    ):
        return f"has more than {MAX_PATH_BYTES} bytes, or a segment more than {MAX_SEGMENT_BYTES}"
    return None


def _path_bytes(path: str) -> bytes:
    return check_path(path).encode()


def _check_counts(manifest: Manifest) -> None:
    if not 1 <= len(manifest.files) <= MAX_FILES:
        raise ManifestInvalid(
            f"A version has 1 to {MAX_FILES:,} files; this one has {len(manifest.files):,}."
        )
    if manifest.chunk_count > MAX_CHUNKS:
        raise ManifestInvalid(f"A version has at most {MAX_CHUNKS:,} chunks.")
    for file in manifest.files:
        if len(file.chunks) > MAX_FILE_CHUNKS:
            raise ManifestInvalid(f"{file.path!r} has more than {MAX_FILE_CHUNKS:,} chunks.")


def _check_places(manifest: Manifest) -> None:
    """Checks that every file has a place of its own, on file systems that fold case too."""
    folded: dict[str, str] = {}
    for file in manifest.files:
        place = file.path.casefold()
        if place in folded:
            raise PathInvalid(f"{folded[place]!r} and {file.path!r} are one path to some systems.")
        folded[place] = file.path
    for place, path in folded.items():
        for parent in _parents(place):
            if parent in folded:
                raise PathInvalid(f"{folded[parent]!r} is a file, and {path!r} lies below it.")


def _parents(path: str) -> Iterator[str]:
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def _check_chunks(manifest: Manifest) -> None:
    sizes: dict[bytes, int] = {}
    for file in manifest.files:
        for chunk in file.chunks:
            _check_chunk(file, chunk)
            if sizes.setdefault(chunk.sha256, chunk.size_bytes) != chunk.size_bytes:
                raise ManifestInvalid(f"{file.path!r} gives a chunk two sizes.")


def _check_chunk(file: File, chunk: ChunkRef) -> None:
    if len(chunk.sha256) != DIGEST_BYTES or not 1 <= chunk.size_bytes <= MAX_CHUNK_BYTES:
        raise ManifestInvalid(f"{file.path!r} lists something that is no chunk.")
