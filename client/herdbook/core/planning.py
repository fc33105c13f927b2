"""What is moved together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from herdbook.core.values import ChunkRef, Manifest

MESSAGE_BYTES: Final = 2 * 1024 * 1024
"""Data in one message: a full chunk, or several small ones."""

MESSAGE_CHUNKS: Final = 4096
"""Chunks in one message at most: each has some forty bytes besides its data."""


class Sized(Protocol):
    """Something that has a size."""

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""


SizedT = TypeVar("SizedT", bound=Sized)


def batches(pieces: Iterable[SizedT], *, max_bytes: int, max_count: int) -> Iterator[list[SizedT]]:
    """Groups pieces in their order, lazily; one that is too large for a batch has its own."""
    batch: list[SizedT] = []
    size_bytes = 0
    for piece in pieces:
        full = len(batch) >= max_count or size_bytes + piece.size_bytes > max_bytes
        if batch and full:
            yield batch
            batch, size_bytes = [], 0
        batch.append(piece)
        size_bytes += piece.size_bytes
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk lies in the files of a version."""

    file: int
    """The file's position in the manifest."""

    offset: int
    """The chunk's first byte in the file."""


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk and everywhere it belongs."""

    ref: ChunkRef
    places: tuple[Place, ...]

    @property
    def size_bytes(self) -> int:
        """How many bytes the chunk has."""
        return self.ref.size_bytes


def place_chunks(manifest: Manifest) -> list[PlacedChunk]:
    """Lists the chunks of a version, each once, in the order of the files."""
    places: dict[ChunkRef, list[Place]] = {}
    for number, file in enumerate(manifest.files):
        offset = 0
        for ref in file.chunks:
            places.setdefault(ref, []).append(Place(number, offset))
            offset += ref.size_bytes
    return [PlacedChunk(ref, tuple(found)) for ref, found in places.items()]
