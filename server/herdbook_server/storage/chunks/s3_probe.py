"""What an S3 server takes by signed requests that it should refuse.

Some do not verify checksums, some take headers that are not signed: clients must not write there.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import secrets
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from herdbook_server.ports.chunks import StoreError, StoreUnavailable
from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.values import ChunkRef
from herdbook_server.storage.chunks.s3_incoming import S3Incoming
from herdbook_server.storage.chunks.s3_signer import S3Signer, checksum

_SIGNED_SECONDS: Final = 30
_SECONDS: Final = 5
"""The longest silence of the store."""

_OUT_OF_ORDER: Final = frozenset({429, 500, 502, 503, 504})


class S3Probe:
    """Brings a chunk as a client would, and tries to bring others in its place."""

    def __init__(self, signer: S3Signer, incoming: S3Incoming) -> None:
        self._signer = signer
        self._incoming = incoming
        self._batch = f"probe-{secrets.token_hex(8)}"
        self._body, self._other_body = secrets.token_bytes(100), secrets.token_bytes(100)
        self._chunk, self._other = _ref(self._body), _ref(self._other_body)

    async def run(self) -> str | None:
        """Return what is taken that should be refused, or what else is wrong; None if all is well.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        try:
            distrust = await self._try()
            # What is left by a probe that ends otherwise goes with what clients left.
            digests = [self._chunk.digest, self._other.digest]
            await self._incoming.discard(digests, batch=self._batch)
            return distrust
        except StoreUnavailable:
            raise
        except StoreError as error:
            return str(error)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise StoreUnavailable(f"S3 could not be probed: {reason}") from error

    async def _try(self) -> str | None:
        request, bring_other = await self._signed(self._chunk), await self._signed(self._other)
        await _make(bring_other, self._other_body)
        if not await self._is_brought(self._other):
            return "S3 takes no chunk by a signed request, or tells no checksum of it."
        await _make(request, self._other_body)
        if await self._is_there():
            return "S3 takes other bytes than those that were signed for."
        await _make(request, self._other_body, {"x-amz-checksum-sha256": checksum(self._other)})
        if await self._is_there():
            return "S3 takes another checksum than the one that was signed."
        source = self._incoming.source(self._batch, self._other.digest)
        await _make(request, self._body, {"x-amz-copy-source": source})
        if await self._is_there() and not await self._is_brought(self._chunk):
            return "S3 copies where it was only signed for an upload."
        return None

    async def _signed(self, chunk: ChunkRef) -> SignedRequest:
        key = self._incoming.key(self._batch, chunk.digest)
        return await self._signer.put(key, chunk, _SIGNED_SECONDS)

    async def _is_there(self) -> bool:
        return await self._incoming.is_there(self._chunk.digest, batch=self._batch)

    async def _is_brought(self, chunk: ChunkRef) -> bool:
        return bool(await self._incoming.brought([chunk], batch=self._batch))


async def _make(
    request: SignedRequest, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Make a request; what came of it is seen in the store.

    Raises:
        StoreUnavailable: The store is out of order, so that nothing can be told from that.
    """
    sent = {**request.headers, **(headers or {})}
    status = await asyncio.to_thread(_send, request, body, sent)
    if status in _OUT_OF_ORDER:
        raise StoreUnavailable(f"S3 answered a probe with status {status}.")


def _send(request: SignedRequest, body: bytes, headers: Mapping[str, str]) -> int:
    parts = urlsplit(request.url)
    connection = _connection(parts.scheme, parts.netloc)
    try:
        connection.request(request.method, f"{parts.path}?{parts.query}", body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(netloc, timeout=_SECONDS)
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    return http.client.HTTPSConnection(netloc, timeout=_SECONDS, context=context)


def _ref(data: bytes) -> ChunkRef:
    return ChunkRef(hashlib.sha256(data).digest(), len(data))
