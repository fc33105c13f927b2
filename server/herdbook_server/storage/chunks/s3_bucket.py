"""A bucket of an S3 server, and how it is called."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig

from herdbook_server.ports.chunks import StoreError, StoreUnavailable
from herdbook_server.storage.chunks import s3_errors

if TYPE_CHECKING:
    from aiobotocore.session import ClientCreatorContext
    from botocore.awsrequest import AWSRequest
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import (
        ListObjectsV2OutputTypeDef,
        ListObjectsV2RequestTypeDef,
        ObjectTypeDef,
    )

_DELETED_AT_ONCE = 1000

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


class S3Bucket:
    """Calls one bucket: bounds how many requests are under way and for how long."""

    def __init__(self, location: S3Location, options: S3Options) -> None:
        self.location = location
        self.options = options
        self._slots = asyncio.Semaphore(options.connections)
        self._resources = AsyncExitStack()
        self._opened: S3Client | None = None

    async def open(self) -> None:
        """Make the one client that all calls share; sends nothing to the store yet.

        Raises:
            StoreError: The settings make no sense.
        """
        self._opened = await self.enter(create_client(self.options))
        self.client.meta.events.register("before-sign.s3.PutObject", _expect_nothing)

    async def enter(self, made: ClientCreatorContext[S3Client]) -> S3Client:
        """Open a client that is closed with the bucket.

        Raises:
            StoreError: The settings make no sense.
        """
        try:
            return await self._resources.enter_async_context(made)
        except (*s3_errors.DRIVER_ERRORS, ValueError) as error:
            raise s3_errors.store_error(f"Could not set up {self.location}", error) from error

    async def close(self) -> None:
        """Close the clients and their connections."""
        self._opened = None
        await self._resources.aclose()

    @property
    def client(self) -> S3Client:
        """The client of an open bucket, to be used within a `call`."""
        if self._opened is None:
            raise RuntimeError("The chunk store is not open.")
        return self._opened

    @asynccontextmanager
    async def call(self, action: str) -> AsyncIterator[S3Client]:
        """Wait for a free connection, bound the time that the call takes, translate errors."""
        async with self._slots:
            try:
                async with asyncio.timeout(self.options.call_timeout_seconds):
                    yield self.client
            except s3_errors.DRIVER_ERRORS as error:
                raise s3_errors.store_error(self.could_not(action), error) from error

    def could_not(self, action: str) -> str:
        """Return the sentence of what failed, without a full stop."""
        return f"The chunk store {self.location} could not {action}"

    async def delete(self, keys: Mapping[str, KeyT]) -> dict[KeyT, StoreError]:
        """Delete objects; return, by what the keys stand for, which were not, and why.

        After `StoreUnavailable` it may be deleted yet.

        Raises:
            StoreError: Some may have been deleted, or may yet be.
        """
        failures: dict[KeyT, StoreError] = {}
        rest = iter(keys.items())
        while page := dict(itertools.islice(rest, _DELETED_AT_ONCE)):
            failures |= await self._delete(page)
        return failures

    async def _delete(self, keys: Mapping[str, KeyT]) -> dict[KeyT, StoreError]:
        async with self.call(f"delete {len(keys)} objects") as client:
            response = await client.delete_objects(
                Bucket=self.location.bucket,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
            )
        failures: dict[KeyT, StoreError] = {}
        for error in response.get("Errors", ()):
            key = error.get("Key", "")
            sentence = self.could_not(f"delete {key or 'something'}")
            failure = s3_errors.refused(sentence, error.get("Code", ""), error.get("Message", ""))
            if key not in keys:
                raise StoreUnavailable(str(failure))
            failures[keys[key]] = failure
        return failures

    async def list_below(self, root: str) -> AsyncGenerator[Sequence[ObjectTypeDef], None]:
        """Yield the objects below a key, a page at a time, the first page in any case.

        Raises:
            StoreError: They cannot be listed.
        """
        token = ""
        while True:
            page = await self._list_page(root, token)
            yield page.get("Contents", ())
            token = page.get("NextContinuationToken", "")
            if not token:
                return

    async def _list_page(self, root: str, token: str) -> ListObjectsV2OutputTypeDef:
        request: ListObjectsV2RequestTypeDef = {
            "Bucket": self.location.bucket,
            "Prefix": root,
            "MaxKeys": self.options.page_size,
        }
        if token:
            request["ContinuationToken"] = token
        async with self.call("list its objects") as client:
            try:
                return await client.list_objects_v2(**request)
            except ValueError as error:
                sentence = self.could_not("list its objects")
                raise StoreUnavailable(f"{sentence}: {error}") from error


async def failures_of(
    calls: Mapping[bytes, Coroutine[None, None, None]],
) -> dict[bytes, StoreError]:
    """Make calls, one for each chunk, at once; return those that failed, and why."""
    outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
    failures: dict[bytes, StoreError] = {}
    for digest, outcome in zip(calls, outcomes, strict=True):
        if isinstance(outcome, StoreError):
            failures[digest] = outcome
        elif outcome is not None:
            raise outcome
    return failures


def create_client(
    options: S3Options,
    *,
    signature_version: str | None = None,
    addressing_style: str | None = None,
) -> ClientCreatorContext[S3Client]:
    """Return a client that is yet to be opened."""
    endpoint_url = endpoint_url_of(options)
    is_plain = endpoint_url is not None and endpoint_url.startswith("http:")
    # Inside TLS the signed checksum proves the same as a second hash of the body would.
    s3: dict[str, object] = {} if is_plain else {"payload_signing_enabled": False}
    if addressing_style is not None:
        s3["addressing_style"] = addressing_style
    config = AioConfig(
        signature_version=signature_version,
        connect_timeout=options.connect_timeout_seconds,
        read_timeout=options.read_timeout_seconds,
        max_pool_connections=options.connections,
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        # The checksum we send is enough, and few servers but AWS know the driver's default one.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=s3 or None,
    )
    return aioboto3.Session().client("s3", endpoint_url=endpoint_url, config=config)


def endpoint_url_of(options: S3Options) -> str | None:
    """Return where the store answers; None for AWS."""
    return (
        options.endpoint_url
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )


def _expect_nothing(request: AWSRequest, **_: object) -> None:
    """Send the body at once.

    The driver would wait for a "100 Continue" first, which costs a round trip for every chunk
    and which some servers never send.
    """
    del request.headers["Expect"]
