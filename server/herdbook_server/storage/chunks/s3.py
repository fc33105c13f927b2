"""Chunks as objects in an S3 bucket."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig
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

if TYPE_CHECKING:
    from aiobotocore.session import ClientCreatorContext
    from botocore.awsrequest import AWSRequest
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import (
        ListObjectsV2OutputTypeDef,
        ListObjectsV2RequestTypeDef,
        ObjectTypeDef,
    )

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DELETED_AT_ONCE = 1000
_FIRST_PAUSE_SECONDS = 0.2
_JITTER = secrets.SystemRandom()

KeyT = TypeVar("KeyT")


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket and the part of its keys below which chunks lie."""

    bucket: str

    prefix: str
    """Without slashes at either end; empty for the whole bucket."""

    @classmethod
    def parse(cls, url: str) -> S3Location:
        """Read `s3://bucket/prefix`.

        Raises:
            ValueError: It is no such address.
        """
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("An S3 location looks like s3://bucket/prefix.")
        if set(parts.netloc) & set("@:"):
            raise ValueError("An S3 location holds no credentials; the AWS environment does.")
        return cls(parts.netloc, parts.path.strip("/"))

    def key(self, name: str) -> str:
        """Return the key of what is called `name` below the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def __str__(self) -> str:
        """Return the address that `parse` reads."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach the store; credentials and the region come from the AWS environment."""

    endpoint_url: str | None = None
    """Where the store answers; None for `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, then AWS."""

    attempts: int = 5
    """How often a request is sent at most, with growing, random pauses between."""

    connect_timeout_seconds: float = 5.0

    read_timeout_seconds: float = 20.0
    """The longest silence of the store within a request."""

    call_timeout_seconds: float = 90.0
    """The longest that one call may take, all its attempts included."""

    connections: int = 32
    """How many requests are under way at once; further calls wait for their turn."""

    page_size: int = 1000
    """How many objects a page of a listing holds; stores allow 1000 at most."""


class S3ChunkStore:
    """Keeps each chunk in an object `prefix/chunks/ab/cdef…` of a bucket.

    Chunks are sent with their SHA-256, which the store verifies before it keeps them. Only
    requests that every S3 server understands are used.
    """

    def __init__(self, location: S3Location, *, options: S3Options | None = None) -> None:
        """Prepare a store in an existing bucket; `open` reads the AWS environment."""
        self._location = location
        self._options = options or S3Options()
        self._root = location.key(f"{CHUNKS}/")
        self._slots = asyncio.Semaphore(self._options.connections)
        self._resources = AsyncExitStack()
        self._opened: S3Client | None = None

    async def open(self) -> None:
        """Make the one client that all calls share; sends nothing to the store yet."""
        try:
            client = _create_client(self._options)
            self._opened = await self._resources.enter_async_context(client)
        except (*s3_errors.DRIVER_ERRORS, ValueError) as error:
            raise s3_errors.store_error(f"Could not set up {self._location}", error) from error
        self._client.meta.events.register("before-sign.s3.PutObject", _expect_nothing)

    async def put(self, chunks: Mapping[bytes, Data]) -> Mapping[bytes, StoreError]:
        """Store chunks, see `ChunkStore.put`."""
        puts = (self._put(digest, data) for digest, data in chunks.items())
        outcomes = zip(chunks, await asyncio.gather(*puts, return_exceptions=True), strict=True)
        failures = {}
        for digest, outcome in outcomes:
            if isinstance(outcome, StoreError):
                failures[digest] = outcome
            elif outcome is not None:
                raise outcome
        return failures

    async def _put(self, digest: bytes, data: Data) -> None:
        async with self._call("store a chunk"):
            await self._client.put_object(
                Bucket=self._location.bucket,
                Key=self._key(digest),
                # Bytes would be written to the socket in one go, under a warning of the driver's.
                Body=io.BytesIO(data),
                ChecksumSHA256=base64.b64encode(digest).decode(),
            )

    async def get(self, digest: bytes, size_bytes: int) -> bytes:
        """Return a chunk, see `ChunkStore.get`."""
        async with self._call("read a chunk"):
            try:
                return await self._get(digest, size_bytes)
            except ClientError as error:
                if s3_errors.is_missing_object(error):
                    raise ChunkMissing(digest) from None
                raise

    async def delete(self, digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        """Delete chunks, see `ChunkStore.delete`."""
        failures: dict[bytes, StoreError] = {}
        for start in range(0, len(digests), _DELETED_AT_ONCE):
            page = digests[start : start + _DELETED_AT_ONCE]
            keys = {self._key(digest): digest for digest in page}
            failures |= await self._delete(keys)
        return failures

    async def list_chunks(self) -> AsyncGenerator[StoredChunk, None]:
        """Yield every chunk held, see `ChunkStore.list_chunks`."""
        token = ""
        while True:
            page = await self._list_page(token)
            for entry in page.get("Contents", ()):
                chunk = self._stored_chunk(entry)
                if chunk is not None:
                    yield chunk
            token = page.get("NextContinuationToken", "")
            if not token:
                return

    async def check(self) -> None:
        """Write, read, delete and list a small object, see `ChunkStore.check`."""
        bucket = self._location.bucket
        key = self._location.key(f"probe/{secrets.token_hex(8)}")
        async with self._call("write a probe"):
            await self._client.put_object(Bucket=bucket, Key=key, Body=b"probe")
        async with self._call("read a probe"):
            response = await self._client.get_object(Bucket=bucket, Key=key)
            async with response["Body"]:
                await response["Body"].read()
        for failure in (await self._delete({key: key})).values():
            raise failure
        await self._list_page("")

    async def close(self) -> None:
        """Close the client and its connections."""
        self._opened = None
        await self._resources.aclose()

    @property
    def _client(self) -> S3Client:
        if self._opened is None:
            raise RuntimeError("The chunk store is not open.")
        return self._opened

    def _key(self, digest: bytes) -> str:
        return self._root + chunk_name(digest)

    async def _get(self, digest: bytes, size_bytes: int) -> bytes:
        """Read an object, again from its start when the connection breaks in the middle.

        The driver itself only retries what fails before the first byte.
        """
        attempt = 1
        while True:
            response = await self._client.get_object(
                Bucket=self._location.bucket, Key=self._key(digest)
            )
            actual_bytes = response["ContentLength"]
            try:
                async with response["Body"]:
                    if actual_bytes == size_bytes:
                        return await response["Body"].read()
            except s3_errors.BODY_ERRORS:
                if attempt == self._options.attempts:
                    raise
            else:
                raise ChunkDamaged(digest, expected_bytes=size_bytes, actual_bytes=actual_bytes)
            await asyncio.sleep(_JITTER.uniform(0, _FIRST_PAUSE_SECONDS * 2**attempt))
            attempt += 1

    async def _delete(self, keys: Mapping[str, KeyT]) -> dict[KeyT, StoreError]:
        """Delete objects; return, by what the keys stand for, which were not, and why."""
        async with self._call(f"delete {len(keys)} objects"):
            response = await self._client.delete_objects(
                Bucket=self._location.bucket,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
            )
        failures: dict[KeyT, StoreError] = {}
        for error in response.get("Errors", ()):
            key = error.get("Key", "")
            sentence = self._could_not(f"delete {key or 'something'}")
            failure = s3_errors.refused(sentence, error.get("Code", ""), error.get("Message", ""))
            if key not in keys:
                raise StoreUnavailable(str(failure))
            failures[keys[key]] = failure
        return failures

    async def _list_page(self, token: str) -> ListObjectsV2OutputTypeDef:
        request: ListObjectsV2RequestTypeDef = {
            "Bucket": self._location.bucket,
            "Prefix": self._root,
            "MaxKeys": self._options.page_size,
        }
        if token:
            request["ContinuationToken"] = token
        async with self._call("list its objects"):
            return await self._client.list_objects_v2(**request)

    def _stored_chunk(self, entry: ObjectTypeDef) -> StoredChunk | None:
        digest = chunk_digest(entry["Key"].removeprefix(self._root))
        if digest is None:
            return None
        modified_at_us = (entry["LastModified"] - _EPOCH) // timedelta(microseconds=1)
        return StoredChunk(digest, entry["Size"], modified_at_us)

    @asynccontextmanager
    async def _call(self, action: str) -> AsyncIterator[None]:
        """Wait for a free connection, bound the time that the call takes, translate errors."""
        async with self._slots:
            try:
                async with asyncio.timeout(self._options.call_timeout_seconds):
                    yield
            except s3_errors.DRIVER_ERRORS as error:
                raise s3_errors.store_error(self._could_not(action), error) from error

    def _could_not(self, action: str) -> str:
        return f"The chunk store {self._location} could not {action}"


def _create_client(options: S3Options) -> ClientCreatorContext[S3Client]:
    endpoint_url = (
        options.endpoint_url
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    is_plain = endpoint_url is not None and endpoint_url.startswith("http:")
    config = AioConfig(
        connect_timeout=options.connect_timeout_seconds,
        read_timeout=options.read_timeout_seconds,
        max_pool_connections=options.connections,
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        # The checksum we send is enough, and few servers but AWS know the driver's default one.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Inside TLS the signed checksum proves the same as a second hash of the body would.
        s3=None if is_plain else {"payload_signing_enabled": False},
    )
    return aioboto3.Session().client("s3", endpoint_url=endpoint_url, config=config)


def _expect_nothing(request: AWSRequest, **_: object) -> None:
    """Send the body at once.

    The driver would wait for a "100 Continue" first, which costs a round trip for every chunk
    and which some servers never send.
    """
    del request.headers["Expect"]
