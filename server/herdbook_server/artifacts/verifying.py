"""Verifying: chunks are read back and hashed, and the index learns which are lost."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from herdbook_server.artifacts.downloads import contents_of
from herdbook_server.artifacts.store_errors import refusal
from herdbook_server.ports.chunks import ChunkDamaged, ChunkMissing, ChunkStore, StoreError
from herdbook_server.ports.database import Database
from herdbook_server.ports.records import Records
from herdbook_server.ports.values import ChunkRef
from herdbook_server.registry.references import parse_reference

logger = logging.getLogger(__name__)

CHUNKS_AT_MOST = 1000
"""Chunks that one page looks at."""

READ_AT_ONCE = 8

SECONDS = 1.0
"""After that long a page ends with what has been read."""

VERSIONS_LISTED = 10
"""Versions that are named for a lost chunk."""

_FIRST = b""
"""Before every digest."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far verifying has come."""

    manifest: bytes | None
    """The digest of the version's manifest; None where all chunks are verified."""
    after: bytes
    """The last chunk that was read."""


@dataclass(frozen=True, slots=True)
class LostChunk:
    """A chunk that should be there, whole, and is not."""

    ref: ChunkRef
    versions: Sequence[tuple[str, int]]
    """Models and numbers of versions that list it."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a page found."""

    checked: Sequence[ChunkRef]
    lost: Sequence[LostChunk]
    total: tuple[int, int] | None
    """How many chunks there are in all, and their bytes; on the first page."""
    next: Place | None


class Verifier:
    """Looks whether the store still holds what the record says."""

    def __init__(self, *, database: Database, chunks: ChunkStore) -> None:
        self._database = database
        self._chunks = chunks

    async def verify(self, reference: str | None, place: Place | None) -> Verified:
        """Read some chunks of a version, or of all where there is no reference.

        What is lost counts as missing afterwards, and what is whole again as stored.

        Raises:
            ReferenceInvalid: The reference cannot be parsed.
            NotFound: It names nothing.
            NoManifest: The version's contents lie outside the registry.
            StoreUnavailable: The store does not answer.
        """
        async with self._database.read() as records:
            here = place or await _beginning(records, reference)
            total = None if place else await _total(records, here)
            listed = await _listed(records, here)
        found = await self._check(listed, seconds=SECONDS)
        lost = await self._note(found)
        ended = len(found) == len(listed) < CHUNKS_AT_MOST
        return Verified(
            list(found),
            [LostChunk(ref, await self._versions(ref)) for ref in lost],
            total,
            None if ended else Place(here.manifest, listed[len(found) - 1].digest),
        )

    async def _check(
        self, refs: Sequence[ChunkRef], *, seconds: float = math.inf
    ) -> dict[ChunkRef, str | None]:
        """Return the chunks that there was time for, and what is wrong with each."""
        time = asyncio.get_running_loop().time
        deadline = time() + seconds
        found: dict[ChunkRef, str | None] = {}
        for start in range(0, len(refs), READ_AT_ONCE):
            group = refs[start : start + READ_AT_ONCE]
            found.update(zip(group, await asyncio.gather(*map(self._damage, group)), strict=True))
            if time() > deadline:
                break
        return found

    async def _damage(self, ref: ChunkRef) -> str | None:
        """Return what is wrong with a chunk; None if it is whole."""
        try:
            data = await self._chunks.get(ref.digest, ref.size_bytes)
        except (ChunkMissing, ChunkDamaged) as error:
            return str(error)
        except StoreError as error:
            await self._require_store()
            return str(error)
        if await asyncio.to_thread(_sha256, data) == ref.digest:
            return None
        return f"The store holds other bytes than those of chunk {ref.digest.hex()}."

    async def _require_store(self) -> None:
        """Tell a store that is away from one that has a single chunk that cannot be read."""
        try:
            await self._chunks.check()
        except StoreError as error:
            raise refusal(error) from error

    async def _note(self, found: Mapping[ChunkRef, str | None]) -> Sequence[ChunkRef]:
        """Have the index know what was found; return what is lost, and not collected meanwhile."""
        damaged = {ref.digest: ref for ref, damage in found.items() if damage}
        whole = [ref.digest for ref in found if ref.digest not in damaged]
        async with self._database.bookkeep(durable=False) as records:
            await records.chunks.regain(whole)
        if not damaged:
            return []
        async with self._database.bookkeep() as records:
            lost = [damaged[digest] for digest in await records.chunks.lose(list(damaged))]
        return await self._still_lost(lost)

    async def _still_lost(self, refs: Sequence[ChunkRef]) -> Sequence[ChunkRef]:
        """Look again: a push may have brought a chunk since, and a disk may have found it."""
        found = await self._check(refs)
        lost = [ref for ref in refs if found[ref]]
        async with self._database.bookkeep(durable=False) as records:
            await records.chunks.regain([ref.digest for ref in refs if not found[ref]])
        for ref in lost:
            logger.error("%s", found[ref])
        return lost

    async def _versions(self, ref: ChunkRef) -> Sequence[tuple[str, int]]:
        async with self._database.read() as records:
            return await records.manifests.versions_listing(ref.digest, limit=VERSIONS_LISTED)


async def _beginning(records: Records, reference: str | None) -> Place:
    if reference is None:
        return Place(None, _FIRST)
    _, manifest = await contents_of(records, parse_reference(reference))
    return Place(manifest, _FIRST)


async def _total(records: Records, place: Place) -> tuple[int, int]:
    if place.manifest is None:
        return await records.chunks.expected_total()
    return await records.manifests.chunk_total(place.manifest)


async def _listed(records: Records, place: Place) -> Sequence[ChunkRef]:
    if place.manifest is None:
        return await records.chunks.expected(after=place.after, limit=CHUNKS_AT_MOST)
    return await records.manifests.chunks(place.manifest, after=place.after, limit=CHUNKS_AT_MOST)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
