"""Where files are cut into chunks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from herdbook.core.manifests import MAX_CHUNK_BYTES

SAFETENSORS_SUFFIX: Final = ".safetensors"
SAFETENSORS_LENGTH_BYTES: Final = 8

MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
"""A longer header is not read: the file is cut at fixed sizes instead."""

_OWN_CHUNK_BYTES = 256 * 1024
"""A tensor of this size starts a chunk; smaller ones share chunks."""


def cut_fixed(size_bytes: int) -> Iterator[int]:
    """Yields the sizes of the chunks of a file, or of a part of one: all of 2 MiB but the last."""
    for _ in range(size_bytes // MAX_CHUNK_BYTES):
        yield MAX_CHUNK_BYTES
    if size_bytes % MAX_CHUNK_BYTES:
        yield size_bytes % MAX_CHUNK_BYTES


def safetensors_header_bytes(prefix: bytes, size_bytes: int) -> int | None:
    """Reads the length of a safetensors header from the first 8 bytes of a file.

    Returns:
        The length; None if it cannot be one, or is too long to be read.
    """
    length = int.from_bytes(prefix[:SAFETENSORS_LENGTH_BYTES], "little")
    fits = SAFETENSORS_LENGTH_BYTES + length <= size_bytes and length <= MAX_HEADER_BYTES
    return length if fits and len(prefix) >= SAFETENSORS_LENGTH_BYTES else None


def cut_safetensors(header: bytes, size_bytes: int) -> list[int] | None:
    """Returns the sizes of the chunks of a safetensors file, cut where tensors begin.

    A longer header or an added tensor then shifts no other chunk.

    Args:
        header: The JSON after the first 8 bytes.
        size_bytes: The size of the whole file.

    Returns:
        None if the header does not describe the file.
    """
    head = SAFETENSORS_LENGTH_BYTES + len(header)
    sizes = _tensor_sizes(header, size_bytes - head)
    if sizes is None:
        return None
    return [*cut_fixed(head), *_cut_tensors(sizes)]


def _tensor_sizes(header: bytes, data_bytes: int) -> list[int] | None:
    """Returns the sizes of the tensors in the order of the file, if they fill it without a gap."""
    try:
        entries = json.loads(header)
        offsets = sorted(
            (int(entry["data_offsets"][0]), int(entry["data_offsets"][1]))
            for name, entry in entries.items()
            if name != "__metadata__"
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None
    end = 0
    for begin, following in offsets:
        if begin != end or following < begin:
            return None
        end = following
    return [following - begin for begin, following in offsets] if end == data_bytes else None


def _cut_tensors(sizes: Iterable[int]) -> Iterator[int]:
    shared = 0
    for size in sizes:
        alone = size >= _OWN_CHUNK_BYTES
        if shared and (alone or shared + size > MAX_CHUNK_BYTES):
            yield shared
            shared = 0
        if alone:
            yield from cut_fixed(size)
        else:
            shared += size
    if shared:
        yield shared
