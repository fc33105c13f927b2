"""What an S3 server takes by signed requests that it should refuse.

Some do not verify checksums, some take headers that are not signed: clients must not write there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import os
import secrets
import ssl
from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import urlsplit

from herdbook_server.ports.chunks import StoreError
from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.values import ChunkRef

_SECONDS: Final = 30


class Bringing(Protocol):
    """What a client may do, and what came of it: see `DirectAccess`."""

    async def sign_puts(
        self, chunks: Sequence[ChunkRef], *, batch: str, seconds: int
    ) -> Sequence[SignedRequest]:
        """Return, for each chunk, the request that brings it."""

    async def brought(self, chunks: Sequence[ChunkRef], *, batch: str) -> Sequence[ChunkRef]:
        """Return those chunks that have been brought, whole."""

    async def is_there(self, digest: bytes, *, batch: str) -> bool:
        """Tell whether anything was brought in place of a chunk."""

    async def discard(self, digests: Sequence[bytes], *, batch: str) -> None:
        """Delete what has been brought."""

    def source(self, digest: bytes, batch: str) -> str:
        """Return what a header names that has S3 copy what was brought."""


async def found_out(bringing: Bringing) -> str | None:
    """Try what must be refused; return what is not, or what else is wrong, None if all is well."""
    probe = _Probe(bringing)
    try:
        return await probe.run()
    except (StoreError, OSError, http.client.HTTPException) as error:
        return f"S3 could not be probed: {str(error) or type(error).__name__}"


class _Probe:
    """Brings a chunk, and tries to bring others in its place."""

    def __init__(self, bringing: Bringing) -> None:
        self._bringing = bringing
        self._batch = f"probe-{secrets.token_hex(8)}"
        self._body, self._other_body = secrets.token_bytes(100), secrets.token_bytes(100)
        self._chunk, self._other = _ref(self._body), _ref(self._other_body)

    async def run(self) -> str | None:
        """Return the first thing that is wrong."""
        both = [self._chunk, self._other]
        requests = await self._bringing.sign_puts(both, batch=self._batch, seconds=_SECONDS)
        try:
            return await self._try(*requests)
        finally:
            await self._bringing.discard([each.digest for each in both], batch=self._batch)

    async def _try(self, request: SignedRequest, bring_other: SignedRequest) -> str | None:
        await _make(bring_other, self._other_body)
        if not await self._is_brought(self._other):
            return "S3 takes no chunk by a signed request, or tells no checksum of it."
        await _make(request, self._other_body)
        if await self._is_there():
            return "S3 takes other bytes than those that were signed for."
        checksum = {"x-amz-checksum-sha256": _checksum(self._other)}
        await _make(request, self._other_body, checksum)
        if await self._is_there():
            return "S3 takes another checksum than the one that was signed."
        copy = {"x-amz-copy-source": self._bringing.source(self._other.digest, self._batch)}
        await _make(request, self._body, copy)
        if await self._is_there() and not await self._is_brought(self._chunk):
            return "S3 copies where it was only signed for an upload."
        return None

    async def _is_there(self) -> bool:
        return await self._bringing.is_there(self._chunk.digest, batch=self._batch)

    async def _is_brought(self, chunk: ChunkRef) -> bool:
        return bool(await self._bringing.brought([chunk], batch=self._batch))


async def _make(
    request: SignedRequest, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Make a request; what came of it is seen in the store."""
    await asyncio.to_thread(_send, request, body, {**request.headers, **(headers or {})})


def _send(request: SignedRequest, body: bytes, headers: Mapping[str, str]) -> None:
    parts = urlsplit(request.url)
    connection = _connection(parts.scheme, parts.netloc)
    try:
        connection.request(request.method, f"{parts.path}?{parts.query}", body, dict(headers))
        connection.getresponse().read()
    finally:
        connection.close()


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(netloc, timeout=_SECONDS)
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    return http.client.HTTPSConnection(netloc, timeout=_SECONDS, context=context)


def _ref(data: bytes) -> ChunkRef:
    return ChunkRef(hashlib.sha256(data).digest(), len(data))


def _checksum(chunk: ChunkRef) -> str:
    return base64.b64encode(chunk.digest).decode()
