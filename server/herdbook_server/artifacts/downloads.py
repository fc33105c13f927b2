"""Downloads: manifests, chunks and files go out."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

from herdbook_server.artifacts.limits import CHUNK_MAX_BYTES, check_digests
from herdbook_server.artifacts.store_errors import lost, translated
from herdbook_server.errors import (
    ChunkLost,
    ChunkNotFound,
    DatabaseUnavailable,
    FieldInvalid,
    FileNotFound,
    NoManifest,
    OffsetOutOfRange,
    Resource,
    UnmetCondition,
)
from herdbook_server.ports.chunks import ChunkStore
from herdbook_server.ports.database import Database
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import ByNumber, Reference
from herdbook_server.ports.values import ChunkRef, File, Resolution
from herdbook_server.registry import rules
from herdbook_server.registry.lookup import resolve
from herdbook_server.registry.references import parse_reference

READ_AHEAD = 4
"""Chunks that are fetched from the store while one is sent."""

READ_AHEAD_IN_ALL = 64
"""The same over all streams; those that find no room fetch one chunk after the other."""

PART_MAX_BYTES = 1024 * 1024
"""Size of a manifest's part on the wire, unless one file alone exceeds it."""

BATCH_BYTES = 512 * 1024
"""A batch of chunks that has grown to that waits for no more."""

_FILES_AT_FIRST = 16
_FILES_AT_ONCE_MAX = 1024
_CHUNKS_AT_ONCE = 4096
_FILE_BYTES = 16
_CHUNK_BYTES = 42


@dataclass(frozen=True, slots=True)
class ManifestPart:
    """Some files of a version, and which version it is."""

    version: Resolution
    digest: bytes
    files: tuple[File, ...]
    first: bool


@dataclass(frozen=True, slots=True)
class FilePiece:
    """Some bytes of a file, and what file it is."""

    version: int
    size_bytes: int
    """Of the whole file."""
    data: bytes
    first: bool


class Downloads:
    """Gives out what versions consist of. Memory is bounded for each stream."""

    def __init__(self, *, database: Database, chunks: ChunkStore) -> None:
        self._database = database
        self._chunks = chunks
        self._room = Room(READ_AHEAD_IN_ALL)

    async def manifest(self, reference: str) -> AsyncGenerator[ManifestPart, None]:
        """Yield a version's files in parts, sorted by the bytes of their paths.

        Raises:
            ReferenceInvalid: The reference cannot be parsed.
            NotFound: It names nothing.
            NoManifest: The version's contents lie outside the registry.
        """
        async with self._database.read() as records:
            version, digest = await contents_of(records, parse_reference(reference))
        first = True
        async with aclosing(_parts(self._files(digest))) as parts:
            async for files in parts:
                yield ManifestPart(version, digest, files, first)
                first = False

    async def download(
        self, model: str, version: int, digests: Sequence[bytes], *, verify: bool = False
    ) -> AsyncGenerator[Sequence[tuple[bytes, bytes]], None]:
        """Yield chunks of a version with their digests, in the order asked.

        A batch holds several small chunks, 2 MiB in all at most. The bytes are not hashed again
        unless they are to be verified: the receiver does that.

        Raises:
            FieldInvalid: There are too many digests, or one that is none.
            NotFound: There is no such version, or its manifest lists no such chunk.
            NoManifest: The version's contents lie outside the registry.
            ChunkLost: A chunk is gone, or has another size; verified, if it is damaged at all.
            StoreUnavailable: The store does not answer.
        """
        rules.check_name(model)
        rules.check_number(version, field="version")
        check_digests(digests)
        async with self._database.read() as records:
            _, manifest = await contents_of(records, ByNumber(model, version))
            sizes = await records.manifests.listed(manifest, list(set(digests)))
        refs = [ChunkRef(digest, size_of(sizes, digest)) for digest in digests]
        fetch = self._fetch_verified if verify else self._fetch
        async with aclosing(_batches(_ahead(fetch, refs, self._room))) as batches:
            async for batch in batches:
                yield batch

    async def read_file(
        self, reference: str, path: str, *, offset: int, limit: int
    ) -> AsyncGenerator[FilePiece, None]:
        """Yield a range of a file's bytes, one piece at least, whose chunks are hashed before.

        Raises:
            ReferenceInvalid: The reference cannot be parsed.
            FieldInvalid: The offset or the limit is negative.
            NotFound: There is no such version, or no such file in it.
            NoManifest: The version's contents lie outside the registry.
            OffsetOutOfRange: The offset lies beyond the end of the file.
            ChunkLost: A chunk is gone, or damaged.
            StoreUnavailable: The store does not answer.
        """
        _check_not_negative(offset, field="offset")
        _check_not_negative(limit, field="limit")
        async with self._database.read() as records:
            version, digest = await contents_of(records, parse_reference(reference))
            # No file has NUL in its path, and PostgreSQL refuses to look for one.
            file = None if "\x00" in path else await records.manifests.file(digest, path)
        if file is None:
            raise _no_file(version, path)
        size_bytes = file.size_bytes
        if offset > size_bytes:
            raise OffsetOutOfRange(f"The file has {size_bytes} bytes; {offset} lies beyond.")
        end = min(offset + limit, size_bytes) if limit else size_bytes
        first = True
        async with aclosing(self._read(file.chunks, offset, end)) as pieces:
            async for data in pieces:
                yield FilePiece(version.version, size_bytes, data, first)
                first = False
        if first:
            yield FilePiece(version.version, size_bytes, b"", first)

    async def _files(self, digest: bytes) -> AsyncGenerator[File, None]:
        """Yield a manifest's files; fewer are fetched at once where files have many chunks."""
        after, limit = None, _FILES_AT_FIRST
        while True:
            async with self._database.read() as records:
                page = await records.manifests.files(digest, after=after, limit=limit)
            for file in page:
                yield file
            if len(page) < limit:
                return
            after = page[-1].path
            few = sum(len(file.chunks) for file in page) < _CHUNKS_AT_ONCE
            limit = min(2 * limit, _FILES_AT_ONCE_MAX) if few else _FILES_AT_FIRST

    async def _read(
        self, chunks: Sequence[ChunkRef], offset: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset` to before `end`."""
        first, start = _chunk_at(chunks, offset)
        last, _ = _chunk_at(chunks, end - 1) if end > offset else (first - 1, 0)
        wanted = chunks[first : last + 1]
        async with aclosing(_ahead(self._fetch_verified, wanted, self._room)) as fetched:
            async for _, data in fetched:
                yield data[max(0, offset - start) : end - start]
                start += len(data)

    async def _fetch(self, ref: ChunkRef) -> bytes:
        async with self._noticing_loss(ref):
            with translated():
                return await self._chunks.get(ref.digest, ref.size_bytes)

    async def _fetch_verified(self, ref: ChunkRef) -> bytes:
        data = await self._fetch(ref)
        async with self._noticing_loss(ref):
            if await asyncio.to_thread(_sha256, data) != ref.digest:
                raise lost(ref.digest)
        return data

    @asynccontextmanager
    async def _noticing_loss(self, ref: ChunkRef) -> AsyncIterator[None]:
        """Make a chunk that turns out to be lost count as missing, so that a push heals it."""
        try:
            yield
        except ChunkLost:
            with suppress(DatabaseUnavailable):
                async with self._database.bookkeep() as records:
                    await records.chunks.lose([ref.digest])
            raise


class Room:
    """Places that are taken if there are any, and never waited for."""

    def __init__(self, places: int) -> None:
        self._free = places

    def take(self) -> bool:
        """Return whether there was a place."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def leave(self, places: int) -> None:
        """Give places back."""
        self._free += places


async def _ahead(
    fetch: Callable[[ChunkRef], Coroutine[object, object, bytes]],
    refs: Iterable[ChunkRef],
    room: Room,
) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Yield digests and bytes of chunks in order, a few of them being fetched ahead.

    The one that is waited for needs no place in the room, so that every stream goes on.
    """
    ahead: deque[tuple[ChunkRef, asyncio.Task[bytes]]] = deque()
    coming = iter(refs)
    try:
        while True:
            while not ahead or (len(ahead) <= READ_AHEAD and room.take()):
                ref = next(coming, None)
                if ref is None:
                    room.leave(1 if ahead else 0)
                    break
                ahead.append((ref, asyncio.create_task(fetch(ref))))
            if not ahead:
                return
            fetched = await _next(ahead)
            room.leave(1 if ahead else 0)
            yield fetched
    finally:
        room.leave(max(0, len(ahead) - 1))
        for _, task in ahead:
            task.cancel()
        await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)


async def contents_of(records: Records, reference: Reference) -> tuple[Resolution, bytes]:
    """Return what a reference names, and the digest of its manifest.

    Raises:
        NotFound: It names nothing.
        NoManifest: The version's contents lie outside the registry.
    """
    version = await resolve(records, reference)
    if version.digest is None:
        name = f"{version.model}:{version.version}"
        message = f"The contents of {name} lie at {version.source_uri}."
        raise NoManifest(message, conditions=[UnmetCondition("version", name, message)])
    return version, version.digest


async def _parts(files: AsyncIterator[File]) -> AsyncGenerator[tuple[File, ...], None]:
    """Gather whole files into parts of a size that suits a message."""
    part: list[File] = []
    part_bytes = 0
    async for file in files:
        file_bytes = _FILE_BYTES + len(file.path.encode()) + _CHUNK_BYTES * len(file.chunks)
        if part and part_bytes + file_bytes > PART_MAX_BYTES:
            yield tuple(part)
            part, part_bytes = [], 0
        part.append(file)
        part_bytes += file_bytes
    if part:
        yield tuple(part)


async def _batches(
    chunks: AsyncIterator[tuple[bytes, bytes]],
) -> AsyncGenerator[Sequence[tuple[bytes, bytes]], None]:
    """Gather chunks into batches that together are no larger than one chunk may be."""
    batch: list[tuple[bytes, bytes]] = []
    batch_bytes = 0
    async for digest, data in chunks:
        if batch and batch_bytes + len(data) > CHUNK_MAX_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append((digest, data))
        batch_bytes += len(data)
        if batch_bytes >= BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch


async def _next(ahead: deque[tuple[ChunkRef, asyncio.Task[bytes]]]) -> tuple[bytes, bytes]:
    ref, task = ahead[0]
    data = await task
    ahead.popleft()
    return ref.digest, data


def _chunk_at(chunks: Sequence[ChunkRef], offset: int) -> tuple[int, int]:
    """Return which chunk holds the byte at an offset, and where in the file that chunk starts."""
    start = 0
    for index, chunk in enumerate(chunks):
        if offset < start + chunk.size_bytes:
            return index, start
        start += chunk.size_bytes
    return len(chunks), start


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def size_of(sizes: Mapping[bytes, int], digest: bytes) -> int:
    """Return the size of a chunk among those that a manifest lists; raises ChunkNotFound."""
    if digest not in sizes:
        name = digest.hex()
        raise ChunkNotFound(
            f"The version's manifest does not list chunk {name}.",
            resource=Resource("chunk", name),
        )
    return sizes[digest]


def _no_file(version: Resolution, path: str) -> FileNotFound:
    name = f"{version.model}:{version.version}"
    return FileNotFound(
        f"Version {name} has no file {rules.shown(path)}.",
        resource=Resource("file", f"{name}/{path}"),
    )


def _check_not_negative(number: int, *, field: str) -> None:
    if number < 0:
        raise rules.refuse(FieldInvalid, field, f"{number} is negative.")
