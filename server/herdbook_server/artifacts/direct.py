"""Direct transfers: clients exchange chunks with the store, and this server sees none of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from herdbook_server.artifacts.downloads import contents_of, size_of
from herdbook_server.artifacts.limits import check_chunk_size, check_digest, check_digests
from herdbook_server.artifacts.store_errors import translated
from herdbook_server.errors import DirectUnavailable, FieldInvalid
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.direct import DirectAccess, SignedRequest
from herdbook_server.ports.references import ByNumber
from herdbook_server.ports.values import ChunkRef
from herdbook_server.registry import rules
from herdbook_server.registry.rules import check_count, refuse

SECONDS: Final = 15 * 60
"""How long a signed request may be made: much shorter than garbage collection spares a chunk."""

CHUNKS_AT_ONCE_MAX: Final = 1000

_PROOF_BYTES: Final = 16
_PROOF_MAX_LENGTH: Final = 64
_LOOKS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class SignedUploads:
    """How some chunks may be brought to the store."""

    requests: Sequence[tuple[bytes, SignedRequest]]
    """By digest; what is not among them is to be uploaded to this server."""
    proof: str
    """Shows, afterwards, who brought them."""


class DirectTransfers:
    """Hands out signed requests, and looks at what came of them."""

    def __init__(self, *, database: Database, clock: Clock, access: DirectAccess | None) -> None:
        """Make it; without `access`, it refuses everything."""
        self._database = database
        self._clock = clock
        self._access = access

    @property
    def offered(self) -> bool:
        """Whether clients may exchange chunks with the store."""
        return self._access is not None

    async def sign_downloads(
        self, model: str, version: int, digests: Sequence[bytes]
    ) -> Sequence[SignedRequest]:
        """Return, for chunks of a version in the order asked, the requests that fetch them.

        Raises:
            DirectUnavailable: This server does not offer it.
            FieldInvalid: There are too many digests, or one that is none.
            NotFound: There is no such version, or its manifest lists no such chunk.
            NoManifest: The version's contents lie outside the registry.
        """
        access = self._required()
        rules.check_name(model)
        rules.check_number(version, field="version")
        check_digests(digests)
        check_count(digests, field="sha256", limit=CHUNKS_AT_ONCE_MAX)
        async with self._database.read() as records:
            _, manifest = await contents_of(records, ByNumber(model, version))
            sizes = await records.manifests.listed(manifest, list(set(digests)))
        for digest in digests:
            size_of(sizes, digest)
        with translated():
            return await access.sign_gets(digests, seconds=SECONDS)

    async def sign_uploads(self, model: str, chunks: Sequence[ChunkRef]) -> SignedUploads:
        """Return the requests that store chunks; touches them.

        Raises:
            DirectUnavailable: This server does not offer it.
            NameInvalid: The model's name breaks the rules.
            FieldInvalid: There are too many chunks, or a digest is none.
            ChunkTooLarge: A chunk is empty or exceeds 2 MiB.
        """
        access = self._required()
        _check(model, chunks)
        allowed = await self._reserve(chunks)
        proof = secrets.token_hex(_PROOF_BYTES)
        with translated():
            signed = await access.sign_puts(allowed, proof=proof, seconds=SECONDS)
        digests = [chunk.digest for chunk in allowed]
        return SignedUploads(list(zip(digests, signed, strict=True)), proof)

    async def confirm(self, model: str, chunks: Sequence[ChunkRef], proof: str) -> Sequence[bytes]:
        """Make chunks known to the model that were brought with a proof; return their digests.

        That a chunk is there proves nothing: somebody else may have brought it, and knowing its
        digest grants nothing.

        Raises:
            DirectUnavailable: This server does not offer it.
            NameInvalid: The model's name breaks the rules.
            FieldInvalid: There are too many chunks, or a digest or the proof is none.
            ChunkTooLarge: A chunk is empty or exceeds 2 MiB.
        """
        access = self._required()
        _check(model, chunks)
        if not 1 <= len(proof) <= _PROOF_MAX_LENGTH or not proof.isalnum():
            raise refuse(FieldInvalid, "proof", "This is no proof that the server gave.")
        # Touched first: what is then found to be there, garbage collection leaves there.
        allowed = await self._reserve(chunks)
        proven: list[ChunkRef] = []
        for start in range(0, len(allowed), _LOOKS_AT_ONCE):
            some = allowed[start : start + _LOOKS_AT_ONCE]
            with translated():
                found = await asyncio.gather(*(access.has_proof(chunk, proof) for chunk in some))
            proven += [chunk for chunk, ours in zip(some, found, strict=True) if ours]
        async with self._database.bookkeep(durable=False) as records:
            await records.chunks.commit(model, proven, time_us=self._clock.now_us())
        return [chunk.digest for chunk in proven]

    async def _reserve(self, chunks: Sequence[ChunkRef]) -> list[ChunkRef]:
        """Return those that garbage collection is not deleting."""
        async with self._database.bookkeep() as records:
            reserved = await records.chunks.reserve(chunks, time_us=self._clock.now_us())
        return [chunk for chunk in chunks if chunk.digest in reserved]

    def _required(self) -> DirectAccess:
        if self._access is None:
            raise DirectUnavailable("This server gives no direct access to its chunk store.")
        return self._access


def _check(model: str, chunks: Sequence[ChunkRef]) -> None:
    rules.check_name(model)
    check_count(chunks, field="chunks", limit=CHUNKS_AT_ONCE_MAX)
    for chunk in chunks:
        check_digest(chunk.digest, field="chunks")
        check_chunk_size(chunk.size_bytes)
