"""The way of chunks into the store.

Receiving, hashing and storing overlap, and little is in memory at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from herdbook_server.artifacts.admission import Admission
from herdbook_server.artifacts.limits import check_chunk_size, check_digest
from herdbook_server.artifacts.manifests import FILE_MAX_CHUNKS
from herdbook_server.errors import (
    ChunkMismatch,
    FieldViolation,
    FileTooLarge,
    HerdbookError,
)
from herdbook_server.ports.chunks import ChunkStore, StoreError
from herdbook_server.ports.values import ChunkRef

logger = logging.getLogger(__name__)

GROUP_MAX_BYTES = 8 * 1024 * 1024
GROUP_MAX_CHUNKS = 256
"""A group shares two small transactions, before and after its bytes are stored."""

GROUPS_IN_FLIGHT = 2
"""Groups of one stream that are hashed and stored while the next one comes in."""

GROUPS_IN_FLIGHT_IN_ALL = 4
"""Groups of all streams."""

GATHERED_MAX_BYTES = 32 * 1024 * 1024
"""What all streams gather for their next groups; beyond it groups go as they are, however small."""

CLOSE_SECONDS = 5.0
"""How long a server that stops goes on storing what broken uploads brought."""


@dataclass(slots=True)
class Group:
    """Chunks that go their way together."""

    chunks: list[tuple[bytes | None, bytes]] = field(default_factory=list)
    """Given digest, if any, and bytes."""
    size_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it is time to store it."""
        return self.size_bytes >= GROUP_MAX_BYTES or len(self.chunks) >= GROUP_MAX_CHUNKS


class Storing:
    """Hashes and stores groups, of all streams; bounds how much of that goes on at once."""

    def __init__(self, *, admission: Admission, chunks: ChunkStore) -> None:
        self._admission = admission
        self._chunks = chunks
        self._groups = asyncio.Semaphore(GROUPS_IN_FLIGHT_IN_ALL)
        self._gathered_bytes = 0
        self._left: set[asyncio.Task[object]] = set()

    @property
    def crowded(self) -> bool:
        """Whether streams have gathered so much that none should wait for more."""
        return self._gathered_bytes >= GATHERED_MAX_BYTES

    def gathered(self, size_bytes: int) -> None:
        """Note that a stream has gathered more; or less, if it is negative."""
        self._gathered_bytes += size_bytes

    async def begin(self, model: str, group: Group) -> asyncio.Task[Sequence[ChunkRef]]:
        """Begin to store a group once its turn has come.

        The task raises:
            ChunkMismatch: A chunk does not have its digest; those before it are stored.
            StoreFull, StoreUnavailable: Not all could be stored; those that could be are.
        """
        await self._groups.acquire()
        task = asyncio.create_task(self._store_group(model, group))
        task.add_done_callback(lambda _: self._groups.release())
        return task

    def leave(
        self, model: str, group: Group, under_way: Iterable[asyncio.Task[Sequence[ChunkRef]]]
    ) -> None:
        """Go on storing what a stream brought that broke, so that it need not be sent again.

        Where streams have gathered much already, what has not begun is dropped.
        """
        left: list[asyncio.Task[object]] = [*under_way]
        if group.chunks and not self.crowded:
            left.append(asyncio.create_task(self._store_left(model, group)))
        for task in left:
            self._left.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._left.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.info("What a broken upload brought was not all stored: %s", task.exception())

    async def _store_left(self, model: str, group: Group) -> None:
        self.gathered(group.size_bytes)
        try:
            async with self._groups:
                await self._store_group(model, group)
        finally:
            self.gathered(-group.size_bytes)

    async def close(self) -> None:
        """End what is still being stored for nobody."""
        if self._left:
            _, late = await asyncio.wait(self._left, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _store_group(self, model: str, group: Group) -> Sequence[ChunkRef]:
        refs = await asyncio.to_thread(_hash, group)
        sound = _count_sound(group, refs)
        await self._store(model, dict(zip(refs[:sound], _bytes(group), strict=False)))
        if sound < len(refs):
            raise _mismatch(group.chunks[sound][0] or b"", refs[sound].digest)
        return refs

    async def _store(self, model: str, chunks: Mapping[ChunkRef, bytes]) -> None:
        data = {ref.digest: data for ref, data in chunks.items()}

        async def put(digests: Collection[bytes]) -> Mapping[bytes, StoreError]:
            return await self._chunks.put({digest: data[digest] for digest in digests})

        await self._admission.admit(model, chunks.keys(), put)


class Pipeline:
    """The way of one stream's chunks into the store.

    Leaving the block stores what is still under way; so does a refusal inside of it. What is
    cancelled waits for nothing, and what it has brought is stored none the less, unless storing
    some of it has failed.
    """

    def __init__(self, storing: Storing, model: str, *, keep_refs: bool = False) -> None:
        self._storing = storing
        self._model = model
        self._keep_refs = keep_refs
        self._group = Group()
        self._in_flight: deque[asyncio.Task[Sequence[ChunkRef]]] = deque()
        self.chunk_count = 0
        self.size_bytes = 0
        self.refs: list[ChunkRef] = []
        """Of all chunks in order, if they are to be kept."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, asyncio.CancelledError) and not self._failed():
            self._leave()
            return
        try:
            if error is None or (isinstance(error, HerdbookError) and not self._failed()):
                await self._finish()
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            await self._stop()

    async def add(self, data: bytes, *, digest: bytes | None = None) -> None:
        """Take a chunk, and its digest if the caller gave one; waits while enough is under way.

        Raises:
            ChunkTooLarge: It is empty or exceeds 2 MiB.
            FieldInvalid: The digest is none.
            FileTooLarge: It is one chunk too many, where the chunks make a file.
            HerdbookError: Storing an earlier chunk failed.
        """
        check_chunk_size(len(data))
        if digest is not None:
            check_digest(digest, field="chunks")
        if self._keep_refs and self.chunk_count >= FILE_MAX_CHUNKS:
            raise FileTooLarge(f"A file has {FILE_MAX_CHUNKS} chunks at most.")
        self.chunk_count += 1
        self.size_bytes += len(data)
        self._group.chunks.append((digest, data))
        self._group.size_bytes += len(data)
        self._storing.gathered(len(data))
        if self._group.full or self._storing.crowded:
            await self._send_off()

    async def _send_off(self) -> None:
        while len(self._in_flight) >= GROUPS_IN_FLIGHT:
            await self._settle_oldest()
        self._in_flight.append(await self._storing.begin(self._model, self._group))
        self._empty_group()

    def _empty_group(self) -> None:
        self._storing.gathered(-self._group.size_bytes)
        self._group = Group()

    async def _settle_oldest(self) -> None:
        task = self._in_flight[0]
        # Whoever waits may be cancelled, and the group must not be for that.
        await asyncio.wait({task})
        refs = task.result()
        self._in_flight.popleft()
        if self._keep_refs:
            self.refs.extend(refs)

    async def _finish(self) -> None:
        if self._group.chunks:
            await self._send_off()
        while self._in_flight:
            await self._settle_oldest()

    def _failed(self) -> bool:
        return any(task.done() and task.exception() for task in self._in_flight)

    def _leave(self) -> None:
        group = self._group
        self._empty_group()
        self._storing.leave(self._model, group, self._in_flight)
        self._in_flight.clear()

    async def _stop(self) -> None:
        """Leave nothing running or counted behind."""
        self._empty_group()
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)


def _hash(group: Group) -> list[ChunkRef]:
    return [ChunkRef(hashlib.sha256(data).digest(), len(data)) for _, data in group.chunks]


def _bytes(group: Group) -> list[bytes]:
    return [data for _, data in group.chunks]


def _count_sound(group: Group, refs: Sequence[ChunkRef]) -> int:
    """Count the chunks before the first that does not have the digest that was given."""
    for index, ((given, _), ref) in enumerate(zip(group.chunks, refs, strict=True)):
        if given is not None and given != ref.digest:
            return index
    return len(refs)


def _mismatch(given: bytes, actual: bytes) -> ChunkMismatch:
    message = f"The bytes given for chunk {given.hex()} have the digest {actual.hex()}."
    return ChunkMismatch(message, fields=[FieldViolation("chunks", message)])
