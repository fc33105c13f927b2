"""Where a chunk lies below a store's root: `ab/cdef…`, the digest in hexadecimal, in two parts.

Both stores use it, so that a directory can be copied into a bucket and back.
"""

from __future__ import annotations

import re

CHUNKS = "chunks"
"""The folder, or the part of the key, below which chunks lie."""

FAN_OUT = tuple(f"{number:02x}" for number in range(256))
"""Every first part there is."""

_DIGEST_BYTES = 32
_SECOND_PART = re.compile(r"[0-9a-f]{62}")


def chunk_name(digest: bytes) -> str:
    """Return `ab/cdef…` for a digest.

    Raises:
        ValueError: The digest is not 32 bytes.
    """
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"A SHA-256 digest is {_DIGEST_BYTES} bytes, not {len(digest)}.")
    name = digest.hex()
    return f"{name[:2]}/{name[2:]}"


def chunk_digest(name: str) -> bytes | None:
    """Return the digest that `chunk_name` made this name of, None if it made no such name."""
    first, _, second = name.partition("/")
    if first not in FAN_OUT or not _SECOND_PART.fullmatch(second):
        return None
    return bytes.fromhex(first + second)
