"""Manifests: what they may list, and the digest that names them.

The rules for paths keep a version's files inside the directory they are pulled to, whatever the
client's file system makes of letters' case.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import unicodedata
from collections.abc import Iterable, Sequence

from herdbook_server.artifacts.limits import CHUNK_MAX_BYTES, DIGEST_BYTES
from herdbook_server.errors import ManifestInvalid, PathInvalid
from herdbook_server.ports.values import ChunkRef, File
from herdbook_server.registry.rules import refuse, shown

MANIFEST_MAX_FILES = 100_000
MANIFEST_MAX_CHUNKS = 400_000
FILE_MAX_CHUNKS = 65_536
PATH_MAX_BYTES = 1024
SEGMENT_MAX_BYTES = 255

_HEADER = b"herdbook-manifest-v1\n"
_LENGTH = struct.Struct(">I")


def manifest_digest(files: Iterable[File]) -> bytes:
    """The SHA-256 that names a manifest, as the contract defines it; the files' order is no matter.

    The manifest has passed `check_manifest`.
    """
    digest = hashlib.sha256(_HEADER)
    for file in sorted(files, key=lambda file: file.path.encode()):
        path = file.path.encode()
        digest.update(_LENGTH.pack(len(path)) + path + _LENGTH.pack(len(file.chunks)))
        for chunk in file.chunks:
            digest.update(chunk.digest + _LENGTH.pack(chunk.size_bytes))
    return digest.digest()


def check_manifest(files: Sequence[File], *, field: str = "manifest.files") -> None:
    """Everything the contract asks of a manifest.

    Raises:
        PathInvalid: A path is not relative, normalised and unique.
        ManifestInvalid: It is empty, too large or inconsistent.
    """
    if not files:
        raise refuse(ManifestInvalid, field, "A manifest lists at least one file.")
    if len(files) > MANIFEST_MAX_FILES:
        raise refuse(ManifestInvalid, field, _too_many(len(files), MANIFEST_MAX_FILES, "files"))
    chunk_count = sum(len(file.chunks) for file in files)
    if chunk_count > MANIFEST_MAX_CHUNKS:
        raise refuse(ManifestInvalid, field, _too_many(chunk_count, MANIFEST_MAX_CHUNKS, "chunks"))
    for index, file in enumerate(files):
        check_path(file.path, field=f"{field}[{index}].path")
    _check_distinct(files, field=field)
    _check_chunks(files, field=field)


def check_path(path: str, *, field: str = "path") -> None:
    """One path of a manifest. Raises PathInvalid."""
    problem = _path_problem(path)
    if problem:
        raise refuse(PathInvalid, field, f"{shown(path)} {problem}.")


def _path_problem(path: str) -> str:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if not encoded:
        return "is empty"
    if len(encoded) > PATH_MAX_BYTES:
        return f"is longer than {PATH_MAX_BYTES} bytes of UTF-8"
    if not path.isascii() and not unicodedata.is_normalized("NFC", path):
        return "is not in Unicode's normal form NFC"
    return _character_problem(path) or _segment_problem(path)


def _character_problem(path: str) -> str:
    if "\\" in path:
        return "has a backslash: separate folders by '/'"
    if path[1:2] == ":":
        return "starts with a drive letter"
    if any(unicodedata.category(character) == "Cc" for character in path):
        return "has a control character"
    return ""


def _segment_problem(path: str) -> str:
    if path.startswith("/"):
        return "is absolute"
    for segment in path.split("/"):
        if not segment:
            return "has an empty segment"
        if segment in {".", ".."}:
            return f"has the segment '{segment}'"
        if len(segment.encode()) > SEGMENT_MAX_BYTES:
            return f"has a segment longer than {SEGMENT_MAX_BYTES} bytes of UTF-8"
    return ""


def _check_distinct(files: Iterable[File], *, field: str) -> None:
    """No two paths are one, or one the folder of another, where case is not told apart.

    With '/' sorted before all else, a path stands right before what would lie below it.
    """
    folded = sorted((_folded(file.path).replace("/", "\x00"), file.path) for file in files)
    for (key, path), (next_key, next_path) in itertools.pairwise(folded):
        if next_key == key:
            raise refuse(
                PathInvalid,
                field,
                f"{shown(path)} and {shown(next_path)} are the same where case is not told apart.",
            )
        if next_key.startswith(key + "\x00"):
            raise refuse(
                PathInvalid,
                field,
                f"{shown(path)} is a file, and {shown(next_path)} needs a folder there.",
            )


def _folded(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path.casefold())


def _check_chunks(files: Iterable[File], *, field: str) -> None:
    sizes: dict[bytes, int] = {}
    for index, file in enumerate(files):
        if len(file.chunks) > FILE_MAX_CHUNKS:
            raise refuse(
                ManifestInvalid,
                f"{field}[{index}].chunks",
                _too_many(len(file.chunks), FILE_MAX_CHUNKS, "chunks"),
            )
        for position, chunk in enumerate(file.chunks):
            problem = _chunk_problem(chunk, sizes)
            if problem:
                raise refuse(ManifestInvalid, f"{field}[{index}].chunks[{position}]", problem)


def _chunk_problem(chunk: ChunkRef, sizes: dict[bytes, int]) -> str:
    if len(chunk.digest) != DIGEST_BYTES:
        return f"A SHA-256 digest has {DIGEST_BYTES} bytes; this one has {len(chunk.digest)}."
    if not 1 <= chunk.size_bytes <= CHUNK_MAX_BYTES:
        return f"A chunk has 1 to {CHUNK_MAX_BYTES} bytes; this one has {chunk.size_bytes}."
    if sizes.setdefault(chunk.digest, chunk.size_bytes) != chunk.size_bytes:
        return (
            f"Chunk {chunk.digest.hex()} is listed with {sizes[chunk.digest]} "
            f"and with {chunk.size_bytes} bytes."
        )
    return ""


def _too_many(count: int, limit: int, things: str) -> str:
    return f"{count} {things} are too many; {limit} is the most."
