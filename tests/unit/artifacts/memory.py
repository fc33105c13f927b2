"""A chunk store and a chunk index in memory, which tests look into and put faults into."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from herdbook_server.ports.chunks import (
    ChunkMissing,
    ChunkStore,
    Data,
    StoredChunk,
    StoreError,
)
from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.references import Reference
from herdbook_server.ports.values import ChunkRef, File, Resolution


class MemoryStore:
    """Keeps chunks in a dictionary, and notes how many are being stored at once."""

    def __init__(self) -> None:
        self.chunks: dict[bytes, bytes] = {}
        self.failures: dict[bytes, StoreError] = {}
        """Why storing a chunk fails."""
        self.gate = asyncio.Event()
        """Nothing is stored or fetched before it is set."""
        self.gate.set()
        self.bytes_in_hand = 0
        self.most_bytes_in_hand = 0
        self.gets = 0
        self.gets_under_way = 0

    async def put(self, chunks: Mapping[bytes, Data]) -> Mapping[bytes, StoreError]:
        size_bytes = sum(map(len, chunks.values()))
        self.bytes_in_hand += size_bytes
        self.most_bytes_in_hand = max(self.most_bytes_in_hand, self.bytes_in_hand)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            failures = {digest: self.failures[digest] for digest in chunks.keys() & self.failures}
            self.chunks |= {d: bytes(data) for d, data in chunks.items() if d not in failures}
            return failures
        finally:
            self.bytes_in_hand -= size_bytes

    async def get(self, digest: bytes, size_bytes: int) -> bytes:
        self.gets += 1
        self.gets_under_way += 1
        try:
            await self.gate.wait()
            if digest not in self.chunks:
                raise ChunkMissing(digest)
            return self.chunks[digest]
        finally:
            self.gets_under_way -= 1

    async def delete(self, digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        for digest in digests:
            self.chunks.pop(digest, None)
        return {}

    async def list_chunks(self) -> AsyncGenerator[StoredChunk, None]:
        for digest, data in self.chunks.items():
            yield StoredChunk(digest, len(data), 0)

    async def open(self) -> None: ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class MemoryIndex:
    """The index of chunks: the part of a database that uploads use."""

    def __init__(self) -> None:
        self.known: set[tuple[str, bytes]] = set()
        self.stored: set[bytes] = set()
        self.deleting: set[bytes] = set()
        """What garbage collection is deleting."""
        self.refused: list[bytes] = []
        """What could not be reserved, once for each attempt."""
        self.file_of_all_versions = File("model.bin", ())

    @asynccontextmanager
    async def bookkeep(self, *, durable: bool = True) -> AsyncIterator[MemoryIndex]:
        yield self

    @asynccontextmanager
    async def read(self) -> AsyncIterator[MemoryIndex]:
        yield self

    @property
    def chunks(self) -> MemoryIndex:
        return self

    @property
    def versions(self) -> MemoryIndex:
        return self

    @property
    def manifests(self) -> MemoryIndex:
        return self

    async def resolve(self, reference: Reference) -> Resolution:
        return Resolution(reference.model, 1, bytes(32), "", 0)

    async def file(self, digest: bytes, path: str) -> File:
        return self.file_of_all_versions

    async def listed(self, digest: bytes, chunks: Sequence[bytes]) -> Mapping[bytes, int]:
        listed = {chunk.digest: chunk.size_bytes for chunk in self.file_of_all_versions.chunks}
        return {chunk: listed[chunk] for chunk in chunks if chunk in listed}

    async def lose(self, digests: Sequence[bytes]) -> None:
        self.stored.difference_update(digests)

    async def missing(
        self, model: str, digests: Sequence[bytes], *, time_us: int
    ) -> Sequence[bytes]:
        return [digest for digest in digests if (model, digest) not in self.known]

    async def reserve(self, chunks: Sequence[ChunkRef], *, time_us: int) -> Mapping[bytes, bool]:
        self.refused += [chunk.digest for chunk in chunks if chunk.digest in self.deleting]
        return {
            chunk.digest: chunk.digest in self.stored
            for chunk in chunks
            if chunk.digest not in self.deleting
        }

    async def commit(self, model: str, digests: Collection[bytes], *, time_us: int) -> None:
        self.stored.update(digests)
        self.known.update((model, digest) for digest in digests)


class FixedClock:
    """Stands still."""

    def now_us(self) -> int:
        return 1_700_000_000_000_000


class MemoryAccess:
    """A place where clients bring chunks to, by batch and digest."""

    def __init__(self, store: ChunkStore) -> None:
        self.gives_downloads = self.takes_uploads = True
        self.incoming: dict[tuple[str, bytes], bytes] = {}
        self.kept: list[bytes] = []
        self.failure: StoreError | None = None
        self._store = store

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def sign_gets(self, digests: Sequence[bytes], *, seconds: int) -> Sequence[SignedRequest]:
        return [SignedRequest("GET", digest.hex(), {}) for digest in digests]

    async def sign_puts(
        self, chunks: Sequence[ChunkRef], *, batch: str, seconds: int
    ) -> Sequence[SignedRequest]:
        return [SignedRequest("PUT", f"{batch}/{chunk.digest.hex()}", {}) for chunk in chunks]

    async def brought(self, chunks: Sequence[ChunkRef], *, batch: str) -> Sequence[ChunkRef]:
        return [
            chunk
            for chunk in chunks
            if ref(self.incoming.get((batch, chunk.digest), b"nothing")) == chunk
        ]

    async def keep(self, chunks: Collection[ChunkRef], *, batch: str) -> Mapping[bytes, StoreError]:
        digests = [chunk.digest for chunk in chunks]
        if self.failure is not None:
            return dict.fromkeys(digests, self.failure)
        self.kept += digests
        return await self._store.put({each: self.incoming[batch, each] for each in digests})

    async def discard(self, digests: Sequence[bytes], *, batch: str) -> None:
        if self.failure is not None:
            raise self.failure
        for digest in digests:
            del self.incoming[batch, digest]

    async def discard_before(self, before_us: int) -> None:
        self.incoming.clear()

    def bring(self, requests: Sequence[SignedRequest], chunks: Sequence[bytes]) -> None:
        """Make signed requests."""
        for request, data in zip(requests, chunks, strict=True):
            batch, _, name = request.url.partition("/")
            self.incoming[batch, bytes.fromhex(name)] = data


def ref(data: bytes) -> ChunkRef:
    """Return what names a chunk."""
    return ChunkRef(hashlib.sha256(data).digest(), len(data))
