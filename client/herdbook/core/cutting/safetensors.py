"""Safetensors: a header in JSON, then the tensors without a gap.

See https://huggingface.co/docs/safetensors/index#format.
"""

from __future__ import annotations

import json
from typing import Final

from herdbook.core.cutting.parts import MAX_HEADER_BYTES, Read, cut_fixed, cut_parts

SUFFIX: Final = ".safetensors"

_LENGTH_BYTES: Final = 8


def cut(read: Read, size_bytes: int) -> list[int] | None:
    """Returns the sizes of the chunks, cut where tensors begin; None if this is no such file."""
    if size_bytes < _LENGTH_BYTES:
        return None
    length = int.from_bytes(read(0, _LENGTH_BYTES), "little")
    head = _LENGTH_BYTES + length
    if head > size_bytes or length > MAX_HEADER_BYTES:
        return None
    tensors = _tensor_sizes(read(_LENGTH_BYTES, length), size_bytes - head)
    return None if tensors is None else [*cut_fixed(head), *cut_parts(tensors)]


_NO_HEADER = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading JSON that is no header may raise; a number may be infinite."""


def _tensor_sizes(header: bytes, data_bytes: int) -> list[int] | None:
    """Returns the sizes of the tensors in the order of the file, if they fill it without a gap."""
    try:
        entries = json.loads(header)
        offsets = sorted(
            (int(entry["data_offsets"][0]), int(entry["data_offsets"][1]))
            for name, entry in entries.items()
            if name != "__metadata__"
        )
    except _NO_HEADER:
        return None
    end = 0
    for begin, following in offsets:
        if begin != end or following < begin:
            return None
        end = following
    return [following - begin for begin, following in offsets] if end == data_bytes else None
