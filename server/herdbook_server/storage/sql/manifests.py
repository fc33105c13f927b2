"""Rows of manifests, of their files and of the chunks that they list."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.values import ChunkRef, File
from herdbook_server.storage.sql.connection import (
    Connection,
    Dangling,
    Row,
    Value,
    padded,
    pages,
    places,
)

CHUNK = struct.Struct(">32sI")
"""A chunk in a file's row: its SHA-256 and its size."""

STORE = """
    INSERT INTO manifests (digest, stored_at_us, stores) VALUES ($1, $2, 1)
    ON CONFLICT (digest) DO UPDATE SET stored_at_us = excluded.stored_at_us,
        stores = manifests.stores + 1
    RETURNING stores"""

FILES = """
    SELECT path, chunks FROM manifest_files
    WHERE manifest_digest = $1 AND path > $2 ORDER BY path LIMIT $3"""

FILE = "SELECT path, chunks FROM manifest_files WHERE manifest_digest = $1 AND path = $2"

LISTED = """
    SELECT chunk_digest, size_bytes FROM manifest_chunks
    WHERE manifest_digest = $1 AND chunk_digest IN ({places})"""

CHUNKS = """
    SELECT chunk_digest, size_bytes FROM manifest_chunks
    WHERE manifest_digest = $1 AND chunk_digest > $2 ORDER BY chunk_digest LIMIT $3"""

CHUNK_TOTAL = """
    SELECT count(*), COALESCE(sum(size_bytes), 0) FROM manifest_chunks WHERE manifest_digest = $1"""

VERSIONS_LISTING = """
    SELECT v.model, v.number FROM manifest_chunks l
    JOIN versions v ON v.manifest_digest = l.manifest_digest
    WHERE l.chunk_digest = $1 ORDER BY v.model, v.number LIMIT $2"""

UNUSED = """
    SELECT digest FROM manifests m
    WHERE stored_at_us < $1
        AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.manifest_digest = m.digest)
    ORDER BY digest LIMIT $2"""

DELETE = """
    DELETE FROM manifests
    WHERE digest = $1 AND stored_at_us < $2
        AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.manifest_digest = $1)"""

DELETE_FILES = "DELETE FROM manifest_files WHERE manifest_digest = $1"

DELETE_CHUNKS = "DELETE FROM manifest_chunks WHERE manifest_digest = $1"


class ManifestRows:
    """Manifests by digest."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert(self, digest: bytes, files: Sequence[File], *, time_us: int) -> None:
        """See `ports.records.Manifests`."""
        row = await self._connection.fetch_one(STORE, digest, time_us)
        if row is not None and row[0] > 1:
            return
        insert_many = self._connection.insert_many
        columns = ("manifest_digest", "path", "chunks")
        await insert_many("manifest_files", columns, file_rows(digest, files))
        columns = ("manifest_digest", "chunk_digest", "size_bytes")
        await insert_many("manifest_chunks", columns, chunk_rows(digest, files))

    async def files(self, digest: bytes, *, after: str | None = None, limit: int) -> Sequence[File]:
        """See `ports.records.Manifests`."""
        rows = await self._connection.fetch(FILES, digest, after or "", limit)
        return [to_file(row) for row in rows]

    async def file(self, digest: bytes, path: str) -> File | None:
        """See `ports.records.Manifests`."""
        row = await self._connection.fetch_one(FILE, digest, path)
        return None if row is None else to_file(row)

    async def listed(self, digest: bytes, chunks: Sequence[bytes]) -> Mapping[bytes, int]:
        """See `ports.records.Manifests`."""
        sizes: dict[bytes, int] = {}
        for page in pages(sorted(set(chunks))):
            wanted = padded(page)
            text = LISTED.format(places=places(len(wanted), first=2))
            rows = await self._connection.fetch(text, digest, *wanted)
            sizes.update((bytes(row[0]), row[1]) for row in rows)
        return sizes

    async def chunks(self, digest: bytes, *, after: bytes, limit: int) -> Sequence[ChunkRef]:
        """See `ports.records.Manifests`."""
        rows = await self._connection.fetch(CHUNKS, digest, after, limit)
        return [ChunkRef(bytes(row[0]), row[1]) for row in rows]

    async def chunk_total(self, digest: bytes) -> tuple[int, int]:
        """See `ports.records.Manifests`."""
        ((count, size_bytes),) = await self._connection.fetch(CHUNK_TOTAL, digest)
        return int(count), int(size_bytes)

    async def versions_listing(self, chunk: bytes, *, limit: int) -> Sequence[tuple[str, int]]:
        """See `ports.records.Manifests`."""
        rows = await self._connection.fetch(VERSIONS_LISTING, chunk, limit)
        return [(row[0], row[1]) for row in rows]

    async def delete_unused(self, before_us: int, *, limit: int) -> int:
        """See `ports.records.Manifests`."""
        deleted = 0
        for row in await self._connection.fetch(UNUSED, before_us, limit):
            if await self._delete(row[0], before_us):
                await self._connection.execute(DELETE_FILES, row[0])
                await self._connection.execute(DELETE_CHUNKS, row[0])
                deleted += 1
        return deleted

    async def _delete(self, digest: bytes, before_us: int) -> bool:
        try:
            return await self._connection.execute(DELETE, digest, before_us) > 0
        except Dangling as error:
            raise DatabaseUnavailable("A manifest came into use meanwhile.") from error


def file_rows(digest: bytes, files: Sequence[File]) -> Iterator[Sequence[Value]]:
    """Yield the rows of a manifest's files."""
    for file in files:
        packed = (CHUNK.pack(chunk.digest, chunk.size_bytes) for chunk in file.chunks)
        yield digest, file.path, b"".join(packed)


def chunk_rows(digest: bytes, files: Sequence[File]) -> Iterator[Sequence[Value]]:
    """Yield the rows of the chunks that a manifest lists, each once."""
    sizes = {chunk.digest: chunk.size_bytes for file in files for chunk in file.chunks}
    return ((digest, chunk, sizes[chunk]) for chunk in sorted(sizes))


def to_file(row: Row) -> File:
    """Return the file that a row holds."""
    return File(row[0], tuple(ChunkRef(*chunk) for chunk in CHUNK.iter_unpack(row[1])))
