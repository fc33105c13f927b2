"""Cuts files into chunks, given the sizes of the parts that they consist of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from herdbook.core.manifests import MAX_CHUNK_BYTES

Read = Callable[[int, int], bytes]
"""Gives as many bytes of a file as asked, from an offset; both lie within the file."""

OWN_CHUNK_BYTES: Final = 256 * 1024
"""A part of this size starts a chunk; smaller ones share chunks."""

MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
"""What describes the parts of a file is not read beyond this: such a file is cut at fixed sizes."""


def cut_fixed(size_bytes: int) -> Iterator[int]:
    """Yields the sizes of the chunks of a file, or of a part of one: all of 2 MiB but the last."""
    for _ in range(size_bytes // MAX_CHUNK_BYTES):
        yield MAX_CHUNK_BYTES
    if size_bytes % MAX_CHUNK_BYTES:
        yield size_bytes % MAX_CHUNK_BYTES


def cut_parts(sizes: Iterable[int]) -> Iterator[int]:
    """Yields the sizes of the chunks of parts that follow each other, cut where large ones begin.

    Large ones also end with a chunk, so a part that is longer, shorter or new shifts no other.
    """
    shared = 0
    for size in sizes:
        alone = size >= OWN_CHUNK_BYTES
        if shared and (alone or shared + size > MAX_CHUNK_BYTES):
            yield shared
            shared = 0
        if alone:
            yield from cut_fixed(size)
        else:
            shared += size
    if shared:
        yield shared
