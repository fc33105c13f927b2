"""Uploads: bytes come in, are hashed, and are durable before anybody hears of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from herdbook_server.artifacts.admission import Admission
from herdbook_server.artifacts.limits import CHUNK_MAX_BYTES, check_digests
from herdbook_server.artifacts.manifests import check_path
from herdbook_server.artifacts.pipeline import Pipeline, Storing
from herdbook_server.ports.chunks import ChunkStore
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.values import File
from herdbook_server.registry import rules


@dataclass(frozen=True, slots=True)
class Received:
    """What an upload brought."""

    chunk_count: int
    size_bytes: int


class Uploads:
    """Takes chunks and files. Memory is bounded, for each stream and in all."""

    def __init__(self, *, database: Database, chunks: ChunkStore, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        admission = Admission(database=database, clock=clock)
        self._storing = Storing(admission=admission, chunks=chunks)

    async def close(self) -> None:
        """End what broken uploads left behind; nothing is uploaded afterwards."""
        await self._storing.close()

    async def find_missing(self, model: str, digests: Sequence[bytes]) -> Sequence[bytes]:
        """Return those digests that are not stored for the model, each once; touches the others.

        Raises:
            NameInvalid: The model's name breaks the rules.
            FieldInvalid: There are too many digests, or one that is none.
        """
        rules.check_name(model)
        check_digests(digests)
        async with self._database.bookkeep(durable=False) as records:
            return await records.chunks.missing(model, digests, time_us=self._clock.now_us())

    async def upload(
        self, model: str, batches: AsyncIterator[Sequence[tuple[bytes, bytes]]]
    ) -> Received:
        """Store chunks, given with their digests. Durable when it returns.

        What comes before a chunk that is refused is stored none the less.

        Raises:
            NameInvalid: The model's name breaks the rules.
            FieldInvalid: A digest is none.
            ChunkMismatch: The bytes of a chunk do not have its digest.
            ChunkTooLarge: A chunk is empty or exceeds 2 MiB.
            StoreFull: There is no room.
            StoreUnavailable: The store does not answer.
        """
        rules.check_name(model)
        async with Pipeline(self._storing, model) as pipeline:
            async for batch in batches:
                for digest, data in batch:
                    await pipeline.add(data, digest=digest)
        return Received(pipeline.chunk_count, pipeline.size_bytes)

    async def write_file(self, model: str, path: str, pieces: AsyncIterator[bytes]) -> File:
        """Store a file, cut into chunks of 2 MiB, and return its manifest entry.

        Raises:
            NameInvalid: The model's name breaks the rules.
            PathInvalid: The path does.
            FileTooLarge: The file has more chunks than a manifest entry takes.
            StoreFull: There is no room.
            StoreUnavailable: The store does not answer.
        """
        rules.check_name(model)
        check_path(path)
        async with Pipeline(self._storing, model, keep_refs=True) as pipeline:
            async for chunk in _cut(pieces):
                await pipeline.add(chunk)
        return File(path, tuple(pipeline.refs))


async def _cut(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut a stream of bytes, whatever the sizes of its pieces, into chunks of full size."""
    rest = bytearray()
    async for piece in pieces:
        if not rest and len(piece) == CHUNK_MAX_BYTES:
            yield piece
            continue
        rest += piece
        while len(rest) >= CHUNK_MAX_BYTES:
            yield bytes(rest[:CHUNK_MAX_BYTES])
            del rest[:CHUNK_MAX_BYTES]
    if rest:
        yield bytes(rest)
