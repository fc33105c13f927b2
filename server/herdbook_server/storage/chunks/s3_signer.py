"""HTTP requests to S3 that whoever has them may make for a while."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.values import ChunkRef
from herdbook_server.storage.chunks import s3_errors
from herdbook_server.storage.chunks.s3_bucket import S3Bucket, create_client

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client


class S3Signer:
    """Signs requests to the objects of a bucket."""

    def __init__(self, client: S3Client, bucket: S3Bucket) -> None:
        """Sign with a client that is made for it, see `open`."""
        self._client = client
        self._bucket = bucket

    @classmethod
    async def open(cls, bucket: S3Bucket, endpoint_url: str | None = None) -> S3Signer:
        """Prepare requests to an endpoint; None for that of the bucket.

        Raises:
            StoreError: The settings make no sense.
        """
        endpoint = urlsplit(endpoint_url or bucket.client.meta.endpoint_url)
        is_aws = (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        made = create_client(
            replace(bucket.options, endpoint_url=endpoint_url or bucket.options.endpoint_url),
            # The driver's default signs no headers.
            signature_version="s3v4",
            # Its default for AWS is no host of the region, which redirects.
            addressing_style="virtual" if is_aws else None,
        )
        return cls(await bucket.enter(made), bucket)

    async def get(self, key: str, seconds: int) -> SignedRequest:
        """Sign what fetches an object.

        Raises:
            StoreError: Nothing can be signed now.
        """
        return await self._sign("GET", key, seconds)

    async def put(self, key: str, chunk: ChunkRef, seconds: int) -> SignedRequest:
        """Sign what stores a chunk, and no other bytes.

        Raises:
            StoreError: Nothing can be signed now.
        """
        value = checksum(chunk)
        signed = await self._sign(
            "PUT", key, seconds, ChecksumSHA256=value, ContentLength=chunk.size_bytes
        )
        return replace(signed, headers={"x-amz-checksum-sha256": value})

    async def _sign(
        self, method: str, key: str, seconds: int, **parameters: object
    ) -> SignedRequest:
        try:
            url = await self._client.generate_presigned_url(
                f"{method.lower()}_object",
                Params={"Bucket": self._bucket.location.bucket, "Key": key, **parameters},
                ExpiresIn=seconds,
            )
        except s3_errors.DRIVER_ERRORS as error:
            sentence = self._bucket.could_not("sign a request")
            raise s3_errors.store_error(sentence, error) from error
        # Signing is work of a fraction of a millisecond without a wait: others have their turn.
        await asyncio.sleep(0)
        return SignedRequest(method, url, {})


def checksum(chunk: ChunkRef) -> str:
    """Return a chunk's SHA-256 as S3 writes it."""
    return base64.b64encode(chunk.digest).decode()
