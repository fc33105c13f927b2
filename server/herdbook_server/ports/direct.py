"""Access to stored chunks that goes past this server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from herdbook_server.ports.values import ChunkRef


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request that whoever has it may make for a while, without credentials."""

    url: str
    headers: Mapping[str, str]
    """To be sent as they are: the signature covers them."""


class DirectAccess(Protocol):
    """Lets clients fetch and bring chunks themselves, by signed requests.

    Every method raises `StoreError` only.
    """

    async def sign_gets(self, digests: Sequence[bytes], *, seconds: int) -> Sequence[SignedRequest]:
        """Return, for each chunk, the request that fetches it within so many seconds."""
        ...

    async def sign_puts(
        self, chunks: Sequence[ChunkRef], *, proof: str, seconds: int
    ) -> Sequence[SignedRequest]:
        """Return, for each chunk, the request that stores exactly its bytes, and the proof.

        The store refuses other bytes, or those that come are found out by `has_proof`.
        """
        ...

    async def has_proof(self, chunk: ChunkRef, proof: str) -> bool:
        """Tell whether the chunk is whole, and was last stored by the request with this proof."""
        ...
