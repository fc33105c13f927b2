"""GGUF: metadata and a table of tensors, then the tensors, each on a multiple of an alignment.

See https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from typing import Final

from herdbook.core.cutting.parts import MAX_HEADER_BYTES, Read, cut_fixed, cut_parts

MAGIC: Final = b"GGUF"

_VERSIONS: Final = (2, 3)
_STRING: Final = 8
_ARRAY: Final = 9
_SCALAR_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32: Final = 4
_ALIGNMENT_KEY: Final = b"general.alignment"
_ALIGNMENT_BYTES: Final = 32


def cut(read: Read, size_bytes: int) -> list[int] | None:
    """Returns the sizes of the chunks, cut where tensors begin; None if the header is not sound.

    The file is one that begins with `MAGIC`.
    """
    header = _Header(read(0, min(size_bytes, MAX_HEADER_BYTES)))
    try:
        head, offsets = header.table()
    except (struct.error, ValueError, KeyError, OverflowError, RecursionError):
        return None
    ends = [*offsets[1:], size_bytes - head]
    sizes = [end - begin for begin, end in zip(offsets, ends, strict=True)]
    if offsets[0] != 0 or min(sizes) < 0:
        return None
    return [*cut_fixed(head), *cut_parts(sizes)]


class _Header:
    """Reads what comes before the tensors; struct.error where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def table(self) -> tuple[int, list[int]]:
        """Returns where the tensors begin, and the offsets of each from there, in order.

        Raises:
            ValueError: It has no tensors, or a version that is not known here.
            KeyError: A type is not known.
        """
        self._position = len(MAGIC)
        version, tensor_count, key_count = self._take("<IQQ")
        if version not in _VERSIONS or not tensor_count:
            raise ValueError("no GGUF that is known here")
        alignment = _ALIGNMENT_BYTES
        for _ in range(key_count):
            key, (kind,) = self._string(), self._take("<I")
            if key == _ALIGNMENT_KEY and kind == _UINT32:
                (alignment,) = self._take("<I")
            else:
                self._skip(kind)
        offsets = sorted({self._tensor_offset() for _ in range(tensor_count)})
        if not alignment:
            raise ValueError("no alignment")
        return -(-self._position // alignment) * alignment, offsets

    def _tensor_offset(self) -> int:
        self._string()
        (dimensions,) = self._take("<I")
        self._position += 8 * dimensions
        _, offset = self._take("<IQ")
        return int(offset)

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self._string()
        elif kind == _ARRAY:
            inner, count = self._take("<IQ")
            if inner in _SCALAR_BYTES:
                self._position += _SCALAR_BYTES[inner] * count
            else:
                for _ in range(count):
                    self._skip(inner)
        else:
            self._position += _SCALAR_BYTES[kind]

    def _string(self) -> bytes:
        (length,) = self._take("<Q")
        begin, self._position = self._position, self._position + length
        return self._data[begin : self._position]

    def _take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self._data, self._position)
        self._position += struct.calcsize(layout)
        return values
