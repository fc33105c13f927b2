"""Access to stored chunks that goes past this server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from herdbook_server.ports.chunks import StoreError
from herdbook_server.ports.values import ChunkRef


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request that whoever has it may make for a while, without credentials."""

    method: str
    url: str
    headers: Mapping[str, str]
    """To be sent as they are: the signature covers them."""


class DirectAccess(Protocol):
    """Lets clients fetch chunks from the store, and bring them to it, by signed requests.

    What a client brings lies apart, under the name of a batch that nobody else can guess, until
    it is kept; no signed request can write to a stored chunk. Every method raises `StoreError`
    only.
    """

    @property
    def gives_downloads(self) -> bool:
        """Whether clients may fetch chunks."""
        ...

    @property
    def takes_uploads(self) -> bool:
        """Whether clients may bring chunks: the store refuses what a request is not signed for."""
        ...

    async def open(self) -> None:
        """Make it usable; called once, before anything else.

        Raises:
            StoreError: The settings make no sense.
        """
        ...

    async def sign_gets(self, digests: Sequence[bytes], *, seconds: int) -> Sequence[SignedRequest]:
        """Return, for each chunk, the request that fetches it within so many seconds."""
        ...

    async def sign_puts(
        self, chunks: Sequence[ChunkRef], *, batch: str, seconds: int
    ) -> Sequence[SignedRequest]:
        """Return, for each chunk, the request that brings its bytes, and no others."""
        ...

    async def brought(self, chunks: Sequence[ChunkRef], *, batch: str) -> Sequence[ChunkRef]:
        """Return those chunks that have been brought, whole."""
        ...

    async def keep(self, chunks: Collection[ChunkRef], *, batch: str) -> Mapping[bytes, StoreError]:
        """Store chunks that have been brought; like `ChunkStore.put`."""
        ...

    async def discard(self, digests: Sequence[bytes], *, batch: str) -> None:
        """Delete what has been brought; it does not touch stored chunks."""
        ...

    async def discard_before(self, before_us: int) -> None:
        """Delete everything that was brought before a time."""
        ...

    async def close(self) -> None:
        """Finish the calls under way and release everything; no call may follow."""
        ...
