"""Reads files of versions without keeping them."""

from __future__ import annotations

import io
from bisect import bisect_right
from itertools import accumulate
from typing import Final

from herdbook.core.values import ChunkRef, File
from herdbook.transfer.fetching import Bytes, ChunkSource

MAX_READ_AHEAD_CHUNKS: Final = 8
"""Chunks fetched together at most, when a file is read from front to back."""


class RemoteFile(io.RawIOBase):
    """One file of a version, read chunk by chunk; seekable. May be used by one thread at a time.

    Every chunk is verified before a byte of it is returned. Holds at most 16 MiB.
    """

    def __init__(self, file: File, source: ChunkSource) -> None:
        self._file = file
        self._source = source
        self._starts = list(accumulate((c.size_bytes for c in file.chunks), initial=0))
        self._position = 0
        self._held: dict[int, bytes] = {}
        self._expected = 0
        self._read_ahead = 1

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self._starts[-1]

    @property
    def name(self) -> str:
        """The file's path below the version's root."""
        return self._file.path

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the position of the next byte."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves the position; costs nothing by itself."""
        self._check_open()
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}
        if whence not in origin or origin[whence] + offset < 0:
            raise ValueError(f"There is no position {offset} from {whence}.")
        self._position = origin[whence] + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fills the buffer as far as the present chunk goes; returns how many bytes it took."""
        self._check_open()
        if self._position >= self.size_bytes or not len(buffer):
            return 0
        number = bisect_right(self._starts, self._position) - 1
        begin = self._position - self._starts[number]
        data = memoryview(self._chunk(number))[begin : begin + len(buffer)]
        memoryview(buffer)[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("The file is closed.")

    def _chunk(self, number: int) -> bytes:
        if number not in self._held:
            self._fetch(number)
        return self._held[number]

    def _fetch(self, number: int) -> None:
        """Fetches a chunk, and more of those behind it the longer reading goes straight on."""
        straight = number == self._expected and number > 0
        self._read_ahead = min(self._read_ahead * 2, MAX_READ_AHEAD_CHUNKS) if straight else 1
        end = min(number + self._read_ahead, len(self._file.chunks))
        wanted = dict.fromkeys(self._file.chunks[number:end])
        self._held = {}
        found: dict[ChunkRef, bytes] = {}

        def deliver(ref: ChunkRef, data: Bytes) -> None:
            found[ref] = bytes(data)

        for ref in wanted:
            cached = self._source.cached(ref)
            if cached is not None:
                found[ref] = cached
        self._source.fetch([ref for ref in wanted if ref not in found], deliver)
        chunks = self._file.chunks
        self._held = {n: found[chunks[n]] for n in range(number, end)}
        self._expected = end

    def close(self) -> None:
        """Lets go of what is held."""
        self._held = {}
        super().close()
