"""Signed requests to an S3 bucket."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from botocore.exceptions import ClientError

from herdbook_server.ports.chunks import StoreError
from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.values import ChunkRef
from herdbook_server.storage.chunks import s3_errors
from herdbook_server.storage.chunks.layout import CHUNKS, chunk_name
from herdbook_server.storage.chunks.s3_bucket import (
    S3Bucket,
    S3Location,
    S3Options,
    create_client,
    endpoint_url_of,
    failures_of,
)
from herdbook_server.storage.chunks.s3_probe import found_out

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

logger = logging.getLogger(__name__)

_INCOMING: Final = "incoming"
"""The part of the key below which lies what clients bring."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class S3DirectAccess:
    """Signs requests for the bucket of an `S3ChunkStore`.

    Clients bring chunks to `prefix/incoming/BATCH/DIGEST`; the store copies them from there itself.
    """

    def __init__(
        self,
        location: S3Location,
        *,
        options: S3Options | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        """Prepare it.

        Args:
            location: Where the chunk store keeps its chunks.
            options: How this server reaches it.
            endpoint_url: Where it answers clients; None for where it answers this server.
        """
        self._location = location
        self._options = options or S3Options()
        self._endpoint_url = endpoint_url
        self._bucket = S3Bucket(location, self._options)
        self._opened_to_sign: S3Client | None = None
        self._takes_uploads = False

    @property
    def takes_uploads(self) -> bool:
        """See `DirectAccess.takes_uploads`."""
        return self._takes_uploads

    async def open(self) -> None:
        """Make the clients that all calls share, and try what the store refuses."""
        await self._bucket.open()
        here = await self._signer(self._options)
        self._opened_to_sign = here
        distrust = await found_out(self)
        if distrust is not None:
            logger.warning("Clients upload through this server: %s", distrust)
        self._takes_uploads = distrust is None
        if self._endpoint_url is not None:
            there = replace(self._options, endpoint_url=self._endpoint_url)
            self._opened_to_sign = await self._signer(there)

    async def _signer(self, options: S3Options) -> S3Client:
        """Open a client that signs. Its defaults sign no headers, and for AWS no regional host."""
        is_aws = endpoint_url_of(options) is None
        return await self._bucket.enter(
            create_client(
                options,
                signature_version="s3v4",
                addressing_style="virtual" if is_aws else None,
            )
        )

    async def sign_gets(self, digests: Sequence[bytes], *, seconds: int) -> Sequence[SignedRequest]:
        """Sign what fetches chunks, see `DirectAccess.sign_gets`."""
        return [await self._sign("GET", self._key(digest), seconds) for digest in digests]

    async def sign_puts(
        self, chunks: Sequence[ChunkRef], *, batch: str, seconds: int
    ) -> Sequence[SignedRequest]:
        """Sign what brings chunks, see `DirectAccess.sign_puts`."""
        return [await self._sign_put(chunk, batch, seconds) for chunk in chunks]

    async def _sign_put(self, chunk: ChunkRef, batch: str, seconds: int) -> SignedRequest:
        checksum = _checksum(chunk.digest)
        signed = await self._sign(
            "PUT",
            self._incoming_key(batch, chunk.digest),
            seconds,
            ChecksumSHA256=checksum,
            ContentLength=chunk.size_bytes,
        )
        return replace(signed, headers={"x-amz-checksum-sha256": checksum})

    async def brought(self, chunks: Sequence[ChunkRef], *, batch: str) -> Sequence[ChunkRef]:
        """Look at objects, see `DirectAccess.brought`."""
        found = await asyncio.gather(*(self._is_brought(chunk, batch) for chunk in chunks))
        return [chunk for chunk, is_there in zip(chunks, found, strict=True) if is_there]

    async def _is_brought(self, chunk: ChunkRef, batch: str) -> bool:
        found = await self._find(chunk.digest, batch)
        # A checksum of several parts, `…-2`, is not that of the bytes.
        return found == (chunk.size_bytes, _checksum(chunk.digest))

    async def is_there(self, digest: bytes, *, batch: str) -> bool:
        """Tell whether anything lies where a chunk is to be brought.

        Raises:
            StoreError: The store does not say.
        """
        return await self._find(digest, batch) is not None

    async def _find(self, digest: bytes, batch: str) -> tuple[int, str | None] | None:
        """Return the size and the checksum of what was brought, if anything was."""
        async with self._bucket.call("look at a chunk") as client:
            try:
                found = await client.head_object(
                    Bucket=self._location.bucket,
                    Key=self._incoming_key(batch, digest),
                    ChecksumMode="ENABLED",
                )
            except ClientError as error:
                if s3_errors.is_missing_object(error):
                    return None
                raise
        return found["ContentLength"], found.get("ChecksumSHA256")

    async def keep(self, digests: Collection[bytes], *, batch: str) -> Mapping[bytes, StoreError]:
        """Copy objects inside the store, see `DirectAccess.keep`."""
        return await failures_of({digest: self._keep(digest, batch) for digest in digests})

    async def _keep(self, digest: bytes, batch: str) -> None:
        async with self._bucket.call("store a chunk") as client:
            await client.copy_object(
                Bucket=self._location.bucket,
                Key=self._key(digest),
                CopySource={
                    "Bucket": self._location.bucket,
                    "Key": self._incoming_key(batch, digest),
                },
                # Not what a client may have set.
                MetadataDirective="REPLACE",
            )

    async def discard(self, digests: Sequence[bytes], *, batch: str) -> None:
        """Delete objects, see `DirectAccess.discard`."""
        await self._delete([self._incoming_key(batch, digest) for digest in digests])

    async def discard_before(self, before_us: int) -> None:
        """Delete objects, see `DirectAccess.discard_before`."""
        before = _EPOCH + timedelta(microseconds=before_us)
        async with aclosing(self._bucket.list_below(self._location.key(f"{_INCOMING}/"))) as pages:
            async for page in pages:
                await self._delete([each["Key"] for each in page if each["LastModified"] < before])

    async def _delete(self, keys: Sequence[str]) -> None:
        for failure in (await self._bucket.delete({key: key for key in keys})).values():
            raise failure

    async def close(self) -> None:
        """Close the clients and their connections."""
        self._opened_to_sign = None
        await self._bucket.close()

    def _incoming_key(self, batch: str, digest: bytes) -> str:
        return self._location.key(f"{_INCOMING}/{batch}/{digest.hex()}")

    def source(self, digest: bytes, batch: str) -> str:
        """Return where to copy from what a client brings, as a header has it."""
        return f"{self._location.bucket}/{quote(self._incoming_key(batch, digest))}"

    def _key(self, digest: bytes) -> str:
        return self._location.key(f"{CHUNKS}/{chunk_name(digest)}")

    async def _sign(
        self, method: str, key: str, seconds: int, **parameters: object
    ) -> SignedRequest:
        if self._opened_to_sign is None:
            raise RuntimeError("The chunk store is not open.")
        try:
            url = await self._opened_to_sign.generate_presigned_url(
                f"{method.lower()}_object",
                Params={"Bucket": self._location.bucket, "Key": key, **parameters},
                ExpiresIn=seconds,
            )
        except s3_errors.DRIVER_ERRORS as error:
            sentence = self._bucket.could_not("sign a request")
            raise s3_errors.store_error(sentence, error) from error
        # Signing is work of a fraction of a millisecond without a wait: others have their turn.
        await asyncio.sleep(0)
        return SignedRequest(method, url, {})


def _checksum(digest: bytes) -> str:
    """Return a SHA-256 as S3 writes it."""
    return base64.b64encode(digest).decode()
