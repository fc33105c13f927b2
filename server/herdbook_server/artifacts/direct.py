"""Direct transfers: clients exchange chunks with the store, and this server sees none of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from herdbook_server.artifacts.admission import Admission
from herdbook_server.artifacts.downloads import contents_of, size_of
from herdbook_server.artifacts.limits import check_chunk_size, check_digest, check_digests
from herdbook_server.artifacts.store_errors import translated
from herdbook_server.errors import DirectUnavailable, FieldInvalid
from herdbook_server.ports.chunks import StoreError
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.direct import DirectAccess, SignedRequest
from herdbook_server.ports.references import ByNumber
from herdbook_server.ports.values import ChunkRef
from herdbook_server.registry import rules
from herdbook_server.registry.rules import check_count, refuse

logger = logging.getLogger(__name__)

SECONDS: Final = 15 * 60
"""How long a signed request may be made."""

CHUNKS_AT_ONCE_MAX: Final = 250
"""Each is a request that is signed, or one to the store."""

CONFIRMED_AT_ONCE: Final = 4
"""Confirmations under way; each takes two or three requests to the store for each chunk."""

_PROOF_BYTES: Final = 16
_PROOF: Final = re.compile(f"[0-9a-f]{{{2 * _PROOF_BYTES}}}")
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Signed:
    """Requests that may be made for a while."""

    requests: Sequence[SignedRequest]
    """In the order asked."""

    expire_at_us: int

    proof: str = ""
    """Shows, afterwards, who made those that bring chunks."""


class DirectTransfers:
    """Hands out signed requests, and takes over what came of them."""

    def __init__(self, *, database: Database, clock: Clock, access: DirectAccess | None) -> None:
        """Make it; without `access`, it refuses everything."""
        self._database = database
        self._clock = clock
        self._access = access
        self._admission = Admission(database=database, clock=clock)
        self._confirmations = asyncio.Semaphore(CONFIRMED_AT_ONCE)

    @property
    def gives_downloads(self) -> bool:
        """Whether clients may fetch chunks from the store."""
        return self._access is not None and self._access.gives_downloads

    @property
    def takes_uploads(self) -> bool:
        """Whether clients may bring chunks to the store."""
        return self._access is not None and self._access.takes_uploads

    async def sign_downloads(self, model: str, version: int, digests: Sequence[bytes]) -> Signed:
        """Return, for chunks of a version, the requests that fetch them.

        Raises:
            DirectUnavailable: This server does not offer it.
            FieldInvalid: There are too many digests, or one that is none.
            NotFound: There is no such version, or its manifest lists no such chunk.
            NoManifest: The version's contents lie outside the registry.
            StoreUnavailable: Nothing can be signed now.
        """
        if self._access is None or not self._access.gives_downloads:
            raise _unavailable("downloads")
        rules.check_name(model)
        rules.check_number(version, field="version")
        check_digests(digests)
        check_count(digests, field="sha256", limit=CHUNKS_AT_ONCE_MAX)
        async with self._database.read() as records:
            _, manifest = await contents_of(records, ByNumber(model, version))
            sizes = await records.manifests.listed(manifest, list(set(digests)))
        for digest in digests:
            size_of(sizes, digest)
        expire_at_us = self._expiry()
        with translated():
            requests = await self._access.sign_gets(digests, seconds=SECONDS)
        return Signed(requests, expire_at_us)

    async def sign_uploads(self, model: str, chunks: Sequence[ChunkRef]) -> Signed:
        """Return, for chunks, the requests that bring them.

        Raises:
            DirectUnavailable: This server does not offer it.
            NameInvalid: The model's name breaks the rules.
            FieldInvalid: There are too many chunks, or a digest is none.
            ChunkTooLarge: A chunk is empty or exceeds 2 MiB.
            StoreUnavailable: Nothing can be signed now.
        """
        access = self._taking()
        _check(model, chunks)
        proof = secrets.token_hex(_PROOF_BYTES)
        expire_at_us = self._expiry()
        with translated():
            requests = await access.sign_puts(chunks, batch=_batch(model, proof), seconds=SECONDS)
        return Signed(requests, expire_at_us, proof)

    async def confirm(self, model: str, chunks: Sequence[ChunkRef], proof: str) -> Sequence[bytes]:
        """Make chunks known to the model that were brought; return the digests of all it knows.

        Raises:
            DirectUnavailable: This server does not offer it.
            NameInvalid: The model's name breaks the rules.
            FieldInvalid: There are too many chunks, or a digest or the proof is none.
            ChunkTooLarge: A chunk is empty or exceeds 2 MiB.
            StoreFull: There is no room.
            StoreUnavailable: The store does not answer.
        """
        access = self._taking()
        _check(model, chunks)
        if not _PROOF.fullmatch(proof):
            raise refuse(FieldInvalid, "proof", "This is no proof that the server gave.")
        async with self._confirmations:
            return await self._confirm(access, model, chunks, _batch(model, proof))

    async def _confirm(
        self, access: DirectAccess, model: str, chunks: Sequence[ChunkRef], batch: str
    ) -> Sequence[bytes]:
        unknown = await self._unknown(model, chunks)
        with translated():
            asked = dict.fromkeys(chunk for chunk in chunks if chunk.digest in unknown)
            brought = await access.brought(list(asked), batch=batch)

        async def keep(digests: Collection[bytes]) -> Mapping[bytes, StoreError]:
            kept = [chunk for chunk in brought if chunk.digest in digests]
            return await access.keep(kept, batch=batch)

        await self._admission.admit(model, brought, keep)
        await _discard(access, [chunk.digest for chunk in brought], batch)
        # Asked anew: the same confirmation may have been under way twice.
        return sorted({chunk.digest for chunk in chunks} - await self._unknown(model, chunks))

    async def _unknown(self, model: str, chunks: Sequence[ChunkRef]) -> set[bytes]:
        digests = [chunk.digest for chunk in chunks]
        async with self._database.bookkeep(durable=False) as records:
            return set(await records.chunks.missing(model, digests, time_us=self._clock.now_us()))

    def _taking(self) -> DirectAccess:
        if self._access is None or not self._access.takes_uploads:
            raise _unavailable("uploads")
        return self._access

    def _expiry(self) -> int:
        return self._clock.now_us() + SECONDS * _MICROSECONDS


def _unavailable(what: str) -> DirectUnavailable:
    return DirectUnavailable(f"This server offers no direct {what}.")


def _batch(model: str, proof: str) -> str:
    """Name what was brought for one model by whoever has the proof."""
    return hashlib.sha256(f"{model}\0{proof}".encode()).hexdigest()


async def _discard(access: DirectAccess, digests: Sequence[bytes], batch: str) -> None:
    """Delete what was kept; garbage collection deletes what is left here."""
    try:
        await access.discard(digests, batch=batch)
    except StoreError as error:
        logger.warning("What clients brought is left for garbage collection: %s", error)


def _check(model: str, chunks: Sequence[ChunkRef]) -> None:
    rules.check_name(model)
    check_count(chunks, field="chunks", limit=CHUNKS_AT_ONCE_MAX)
    for chunk in chunks:
        check_digest(chunk.digest, field="chunks")
        check_chunk_size(chunk.size_bytes)
