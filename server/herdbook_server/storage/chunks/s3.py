"""Chunks as objects in an S3 bucket."""

from __future__ import annotations

import asyncio
import base64
import io
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from herdbook_server.ports.chunks import (
    ChunkDamaged,
    ChunkMissing,
    Data,
    StoredChunk,
    StoreError,
    StoreUnavailable,
)
from herdbook_server.storage.chunks import s3_errors
from herdbook_server.storage.chunks.layout import CHUNKS, chunk_digest, chunk_name
from herdbook_server.storage.chunks.s3_bucket import S3Bucket, S3Location, S3Options, failures_of

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ObjectTypeDef

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_PAUSE_SECONDS = 0.2
_JITTER = secrets.SystemRandom()


class S3ChunkStore:
    """Keeps each chunk in an object `prefix/chunks/ab/cdef…` of a bucket.

    Chunks are sent with their SHA-256, which the store verifies before it keeps them. Only
    requests that every S3 server understands are used.
    """

    def __init__(self, location: S3Location, *, options: S3Options | None = None) -> None:
        """Prepare a store in an existing bucket; `open` reads the AWS environment."""
        self._location = location
        self._bucket = S3Bucket(location, options or S3Options())
        self._root = location.key(f"{CHUNKS}/")

    async def open(self) -> None:
        """Make the one client that all calls share; sends nothing to the store yet."""
        await self._bucket.open()

    async def put(self, chunks: Mapping[bytes, Data]) -> Mapping[bytes, StoreError]:
        """Store chunks, see `ChunkStore.put`."""
        return await failures_of({digest: self._put(digest, chunks[digest]) for digest in chunks})

    async def _put(self, digest: bytes, data: Data) -> None:
        async with self._bucket.call("store a chunk") as client:
            await client.put_object(
                Bucket=self._location.bucket,
                Key=self._key(digest),
                # Bytes would be written to the socket in one go, under a warning of the driver's.
                Body=io.BytesIO(data),
                ChecksumSHA256=base64.b64encode(digest).decode(),
            )

    async def get(self, digest: bytes, size_bytes: int) -> bytes:
        """Return a chunk, see `ChunkStore.get`."""
        async with self._bucket.call("read a chunk"):
            try:
                return await self._get(digest, size_bytes)
            except ClientError as error:
                if s3_errors.is_missing_object(error):
                    raise ChunkMissing(digest) from None
                raise

    async def delete(self, digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        """Delete chunks, see `ChunkStore.delete`."""
        return await self._bucket.delete({self._key(digest): digest for digest in digests})

    async def list_chunks(self) -> AsyncGenerator[StoredChunk, None]:
        """Yield every chunk held, see `ChunkStore.list_chunks`."""
        async with aclosing(self._bucket.list_below(self._root)) as pages:
            async for page in pages:
                for entry in page:
                    chunk = self._stored_chunk(entry)
                    if chunk is not None:
                        yield chunk

    async def check(self) -> None:
        """Write, read, delete and list a small object, see `ChunkStore.check`."""
        bucket = self._location.bucket
        key = self._location.key(f"probe/{secrets.token_hex(8)}")
        async with self._bucket.call("write a probe") as client:
            await client.put_object(Bucket=bucket, Key=key, Body=b"probe")
        async with self._bucket.call("read a probe") as client:
            response = await client.get_object(Bucket=bucket, Key=key)
            async with response["Body"]:
                await response["Body"].read()
        for failure in (await self._bucket.delete({key: key})).values():
            raise failure
        async with aclosing(self._bucket.list_below(self._root)) as pages:
            await anext(pages)

    async def close(self) -> None:
        """Close the client and its connections."""
        await self._bucket.close()

    def _key(self, digest: bytes) -> str:
        return self._root + chunk_name(digest)

    async def _get(self, digest: bytes, size_bytes: int) -> bytes:
        """Read an object, again from its start when the connection breaks in the middle.

        The driver itself only retries what fails before the first byte.
        """
        attempt = 1
        while True:
            response = await self._bucket.client.get_object(
                Bucket=self._location.bucket, Key=self._key(digest)
            )
            actual_bytes = response.get("ContentLength")
            if actual_bytes is None:
                response["Body"].close()
                raise StoreUnavailable(f"{self._bucket.could_not('read a chunk')}: it has no size.")
            try:
                async with response["Body"]:
                    if actual_bytes == size_bytes:
                        return await response["Body"].read()
            except s3_errors.BODY_ERRORS:
                if attempt == self._bucket.options.attempts:
                    raise
            else:
                raise ChunkDamaged(digest, expected_bytes=size_bytes, actual_bytes=actual_bytes)
            await asyncio.sleep(_JITTER.uniform(0, _FIRST_PAUSE_SECONDS * 2**attempt))
            attempt += 1

    def _stored_chunk(self, entry: ObjectTypeDef) -> StoredChunk | None:
        digest = chunk_digest(entry["Key"].removeprefix(self._root))
        if digest is None:
            return None
        modified_at_us = (entry["LastModified"] - _EPOCH) // timedelta(microseconds=1)
        return StoredChunk(digest, entry["Size"], modified_at_us)
