"""Manifests as files: the very bytes whose SHA-256 is the version's digest, so they prove it."""

from __future__ import annotations

import hashlib
import stat
import struct
from pathlib import Path

from herdbook.cache.layout import PREFIX, kind_of
from herdbook.core.manifests import HEADER, manifest_parts
from herdbook.core.values.artifacts import ChunkRef, File, Manifest

_COUNT = struct.Struct(">I")
_CHUNK = struct.Struct(">32sI")


def encode(manifest: Manifest) -> bytes:
    """Returns the bytes that the digest of a manifest is made of; its files are sorted."""
    return b"".join(manifest_parts(manifest))


def digest_of(encoded: bytes) -> str:
    """Returns the digest of an encoded manifest."""
    return PREFIX + hashlib.sha256(encoded).hexdigest()


def read_manifest(path: Path, digest: str) -> Manifest | None:
    """Returns the manifest in the file at `path`; None if none with this digest can be read."""
    try:
        if kind_of(path) != stat.S_IFREG:
            return None
        encoded = path.read_bytes()
    except OSError:
        return None
    if digest_of(encoded) != digest:
        return None
    return _decode(memoryview(encoded)[len(HEADER) :])


def _decode(encoded: memoryview) -> Manifest:
    files = []
    at = 0
    while at < len(encoded):
        (length,) = _COUNT.unpack_from(encoded, at)
        at += _COUNT.size
        path = str(encoded[at : at + length], "utf-8")
        at += length
        (count,) = _COUNT.unpack_from(encoded, at)
        at += _COUNT.size
        end = at + count * _CHUNK.size
        files.append(
            File(path, tuple(ChunkRef(*each) for each in _CHUNK.iter_unpack(encoded[at:end])))
        )
        at = end
    return Manifest(tuple(files))
