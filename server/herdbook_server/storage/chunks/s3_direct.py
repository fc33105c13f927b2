"""Direct access to the chunks in an S3 bucket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from herdbook_server.ports.chunks import StoreError, StoreUnavailable
from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.values import ChunkRef
from herdbook_server.storage.chunks.layout import CHUNKS, chunk_name
from herdbook_server.storage.chunks.s3_bucket import S3Bucket, S3Location, S3Options
from herdbook_server.storage.chunks.s3_incoming import S3Incoming
from herdbook_server.storage.chunks.s3_probe import S3Probe
from herdbook_server.storage.chunks.s3_signer import S3Signer

logger = logging.getLogger(__name__)

PROBE_AWAITED_SECONDS: Final = 3.0
"""How long a server that starts waits to know whether clients may upload."""

PROBE_AGAIN_SECONDS: Final = 60.0


class S3DirectAccess:
    """Signs requests for the bucket of an `S3ChunkStore`.

    Clients bring chunks to a part of it of their own; the store copies them from there itself.
    """

    def __init__(
        self,
        location: S3Location,
        *,
        options: S3Options | None = None,
        endpoint_url: str | None = None,
        offered: bool = True,
    ) -> None:
        """Prepare it.

        Args:
            location: Where the chunk store keeps its chunks.
            options: How this server reaches it.
            endpoint_url: Where it answers clients; None for where it answers this server.
            offered: False if clients are to have none. What they brought can still be discarded.
        """
        self._location = location
        self._endpoint_url = endpoint_url
        self._offered = offered
        self._bucket = S3Bucket(location, options or S3Options())
        self._incoming = S3Incoming(self._bucket)
        self._opened_signer: S3Signer | None = None
        self._learning: asyncio.Task[None] | None = None
        self._takes_uploads = False

    @property
    def gives_downloads(self) -> bool:
        """See `DirectAccess.gives_downloads`."""
        return self._offered

    @property
    def takes_uploads(self) -> bool:
        """See `DirectAccess.takes_uploads`."""
        return self._takes_uploads

    async def open(self) -> None:
        """Make the clients that all calls share, and begin to try what the store refuses."""
        await self._bucket.open()
        if self._offered:
            self._opened_signer = await S3Signer.open(self._bucket, self._endpoint_url)
            probe = S3Probe(await S3Signer.open(self._bucket), self._incoming)
            self._learning = asyncio.create_task(self._learn(probe))
            await asyncio.wait({self._learning}, timeout=PROBE_AWAITED_SECONDS)

    async def _learn(self, probe: S3Probe) -> None:
        """Learn whether clients may upload, from a store that may be away at first."""
        while True:
            try:
                distrust = await probe.run()
            except StoreUnavailable as error:
                logger.warning("Clients upload through this server for now: %s", error)
                await asyncio.sleep(PROBE_AGAIN_SECONDS)
                continue
            if distrust is not None:
                logger.warning("Clients upload through this server: %s", distrust)
            self._takes_uploads = distrust is None
            return

    async def sign_gets(self, digests: Sequence[bytes], *, seconds: int) -> Sequence[SignedRequest]:
        """Sign what fetches chunks, see `DirectAccess.sign_gets`."""
        keys = [self._location.key(f"{CHUNKS}/{chunk_name(digest)}") for digest in digests]
        return [await self._signer.get(key, seconds) for key in keys]

    async def sign_puts(
        self, chunks: Sequence[ChunkRef], *, batch: str, seconds: int
    ) -> Sequence[SignedRequest]:
        """Sign what brings chunks, see `DirectAccess.sign_puts`."""
        keys = {chunk: self._incoming.key(batch, chunk.digest) for chunk in chunks}
        return [await self._signer.put(keys[chunk], chunk, seconds) for chunk in chunks]

    async def brought(self, chunks: Sequence[ChunkRef], *, batch: str) -> Sequence[ChunkRef]:
        """Look at objects, see `DirectAccess.brought`."""
        return await self._incoming.brought(chunks, batch=batch)

    async def keep(self, chunks: Collection[ChunkRef], *, batch: str) -> Mapping[bytes, StoreError]:
        """Copy objects inside the store, see `DirectAccess.keep`."""
        return await self._incoming.keep(chunks, batch=batch)

    async def discard(self, digests: Sequence[bytes], *, batch: str) -> None:
        """Delete objects, see `DirectAccess.discard`."""
        await self._incoming.discard(digests, batch=batch)

    async def discard_before(self, before_us: int) -> None:
        """Delete objects, see `DirectAccess.discard_before`."""
        await self._incoming.discard_before(before_us)

    async def close(self) -> None:
        """Close the clients and their connections."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
        self._opened_signer = None
        await self._bucket.close()

    @property
    def _signer(self) -> S3Signer:
        if self._opened_signer is None:
            raise RuntimeError("The chunk store is not open.")
        return self._opened_signer
