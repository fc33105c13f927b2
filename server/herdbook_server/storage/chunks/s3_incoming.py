"""What clients bring to a bucket by signed requests, until it is kept or discarded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from botocore.exceptions import ClientError

from herdbook_server.ports.chunks import StoreError, StoreUnavailable
from herdbook_server.ports.values import ChunkRef
from herdbook_server.storage.chunks import s3_errors
from herdbook_server.storage.chunks.layout import CHUNKS, chunk_name
from herdbook_server.storage.chunks.s3_bucket import S3Bucket, failures_of
from herdbook_server.storage.chunks.s3_signer import checksum

_INCOMING: Final = "incoming"
_BROUGHT: Final = re.compile(r"(?:probe-[0-9a-f]{16}|[0-9a-f]{64})/[0-9a-f]{64}")
"""A batch and a digest; what else lies there is not ours."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class S3Incoming:
    """Looks after the objects `prefix/incoming/BATCH/DIGEST` of a bucket.

    Its methods raise `StoreError` only.
    """

    def __init__(self, bucket: S3Bucket) -> None:
        """Look after them in a bucket that is open by then."""
        self._bucket = bucket
        self._location = bucket.location

    def key(self, batch: str, digest: bytes) -> str:
        """Return where a chunk is brought."""
        return self._location.key(f"{_INCOMING}/{batch}/{digest.hex()}")

    def source(self, batch: str, digest: bytes) -> str:
        """Return the same as the header of a copy has it."""
        return f"{self._location.bucket}/{quote(self.key(batch, digest))}"

    async def brought(self, chunks: Sequence[ChunkRef], *, batch: str) -> Sequence[ChunkRef]:
        """Look at objects, see `DirectAccess.brought`."""
        found = await asyncio.gather(*(self._is_brought(chunk, batch) for chunk in chunks))
        return [chunk for chunk, is_there in zip(chunks, found, strict=True) if is_there]

    async def is_there(self, digest: bytes, *, batch: str) -> bool:
        """Tell whether anything was brought in the place of a chunk."""
        return await self._find(self.key(batch, digest)) is not None

    async def keep(self, chunks: Collection[ChunkRef], *, batch: str) -> Mapping[bytes, StoreError]:
        """Copy objects inside the store, see `DirectAccess.keep`."""
        return await failures_of({chunk.digest: self._keep(chunk, batch) for chunk in chunks})

    async def discard(self, digests: Sequence[bytes], *, batch: str) -> None:
        """Delete objects, see `DirectAccess.discard`."""
        await self._delete([self.key(batch, digest) for digest in digests])

    async def discard_before(self, before_us: int) -> None:
        """Delete objects, see `DirectAccess.discard_before`."""
        before = _EPOCH + timedelta(microseconds=before_us)
        root = self._location.key(f"{_INCOMING}/")
        async with aclosing(self._bucket.list_below(root)) as pages:
            async for page in pages:
                await self._delete(
                    [
                        each["Key"]
                        for each in page
                        if each["LastModified"] < before
                        and _BROUGHT.fullmatch(each["Key"].removeprefix(root))
                    ]
                )

    async def _is_brought(self, chunk: ChunkRef, batch: str) -> bool:
        # A checksum of several parts, `…-2`, is not that of the bytes.
        found = await self._find(self.key(batch, chunk.digest))
        return found == (chunk.size_bytes, checksum(chunk))

    async def _find(self, key: str) -> tuple[int | None, str | None] | None:
        """Return the size and the checksum of an object, as far as S3 tells them, if any."""
        async with self._bucket.call("look at a chunk") as client:
            try:
                found = await client.head_object(
                    Bucket=self._location.bucket,
                    Key=key,
                    ChecksumMode="ENABLED",
                )
            except ClientError as error:
                if s3_errors.is_missing_head(error):
                    return None
                raise
        return found.get("ContentLength"), found.get("ChecksumSHA256")

    async def _keep(self, chunk: ChunkRef, batch: str) -> None:
        key = self._location.key(f"{CHUNKS}/{chunk_name(chunk.digest)}")
        source = self.key(batch, chunk.digest)
        async with self._bucket.call("store a chunk") as client:
            await client.copy_object(
                Bucket=self._location.bucket,
                Key=key,
                CopySource={"Bucket": self._location.bucket, "Key": source},
                # Not what a client may have set.
                MetadataDirective="REPLACE",
            )
        # S3 answers with success before it has copied, and the end of its answer may be lost.
        if await self._find(key) not in {
            (chunk.size_bytes, checksum(chunk)),
            (chunk.size_bytes, None),
        }:
            raise StoreUnavailable(f"{self._bucket.could_not('copy a chunk')}: it is not there.")

    async def _delete(self, keys: Sequence[str]) -> None:
        for failure in (await self._bucket.delete({key: key for key in keys})).values():
            raise failure
