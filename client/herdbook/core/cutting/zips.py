"""Zip archives: PyTorch checkpoints, NumPy's `.npz`, Keras models, TorchServe archives.

What is stored uncompressed keeps its bytes from one archive to the next, wherever it lies.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from typing import Final

from herdbook.core.cutting.parts import MAX_HEADER_BYTES, OWN_CHUNK_BYTES, Read, cut_parts

MAGIC: Final = b"PK\x03\x04"

_LOCAL_HEADER_BYTES: Final = 30
_LENGTHS: Final = struct.Struct("<HH")
_LENGTHS_OFFSET: Final = 26


def cut(read: Read, size_bytes: int) -> list[int] | None:
    """Returns the sizes of the chunks, cut where members begin; None if this is no such file."""
    try:
        with zipfile.ZipFile(_Bounded(read, size_bytes)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError):
        return None
    large = sorted(
        (member.header_offset, member.compress_size)
        for member in members
        if member.compress_size >= OWN_CHUNK_BYTES
    )
    begins = [_begin(read, offset, size_bytes) for offset, _ in large]
    sizes = list(_sizes(begins, [size for _, size in large], size_bytes))
    return None if min(sizes, default=0) < 0 else list(cut_parts(sizes))


def _begin(read: Read, header_offset: int, size_bytes: int) -> int:
    """Returns where a member's bytes begin; beyond the file if there is no member."""
    if not 0 <= header_offset <= size_bytes - _LOCAL_HEADER_BYTES:
        return size_bytes
    header = read(header_offset, _LOCAL_HEADER_BYTES)
    # These lengths need not be those of the archive's directory.
    name_bytes, extra_bytes = _LENGTHS.unpack_from(header, _LENGTHS_OFFSET)
    return int(header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes)


def _sizes(begins: list[int], sizes: list[int], size_bytes: int) -> Iterator[int]:
    """Yields the sizes of the members and of what lies before, between and after them."""
    end = 0
    for begin, size in zip(begins, sizes, strict=True):
        yield begin - end
        yield size
        end = begin + size
    yield size_bytes - end


class _Bounded:
    """A file as zipfile reads it, a little of it only; ValueError when that is exceeded."""

    def __init__(self, read: Read, size_bytes: int) -> None:
        self._read = read
        self._size_bytes = size_bytes
        self._position = 0
        self._left = MAX_HEADER_BYTES

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes to an offset from the beginning, from here, or from the end."""
        origin = (0, self._position, self._size_bytes)[whence]
        self._position = max(0, origin + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, self._size_bytes - self._position)
        wanted = rest if size is None or size < 0 else min(size, rest)
        self._left -= wanted
        if self._left < 0:
            raise ValueError("the archive's directory is too long")
        data = self._read(self._position, wanted) if wanted else b""
        self._position += wanted
        return data
