"""How large things that consist of bytes may be."""

from __future__ import annotations

from collections.abc import Sequence

from herdbook_server.errors import ChunkTooLarge, FieldInvalid
from herdbook_server.registry.rules import check_count, refuse

CHUNK_MAX_BYTES = 2 * 1024 * 1024
DIGEST_BYTES = 32
DIGESTS_AT_ONCE_MAX = 10_000


def check_chunk_size(size_bytes: int, *, field: str = "chunks") -> None:
    """A chunk's size. Raises ChunkTooLarge."""
    if not 1 <= size_bytes <= CHUNK_MAX_BYTES:
        raise refuse(
            ChunkTooLarge,
            field,
            f"A chunk has 1 to {CHUNK_MAX_BYTES} bytes; this one has {size_bytes}.",
        )


def check_digests(digests: Sequence[bytes], *, field: str = "sha256") -> None:
    """Digests of chunks, so many at most. Raises FieldInvalid."""
    check_count(digests, field=field, limit=DIGESTS_AT_ONCE_MAX)
    for digest in digests:
        check_digest(digest, field=field)


def check_digest(digest: bytes, *, field: str = "sha256") -> None:
    """A digest. Raises FieldInvalid."""
    if len(digest) != DIGEST_BYTES:
        raise refuse(
            FieldInvalid,
            field,
            f"A SHA-256 digest has {DIGEST_BYTES} bytes; this one has {len(digest)}.",
        )
