"""The S3 chunk store keeps the contract, and says what an endpoint refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from herdbook_server.ports.chunks import ChunkMissing, StoreMisconfigured
from herdbook_server.storage.chunks.s3 import S3ChunkStore
from herdbook_server.storage.chunks.s3_bucket import S3Location, S3Options
from tests.contract.chunk_store_suite import ChunkStoreTests, chunk_of, digest_of, name_of, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from types_boto3_s3 import S3Client

    from herdbook_server.ports.chunks import ChunkStore
    from tests.support.s3 import S3Endpoint

PREFIX = "some/prefix"


@dataclass(frozen=True, slots=True)
class RawObjects:
    """The objects below a prefix of a bucket."""

    client: S3Client
    bucket: str

    def write(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"{PREFIX}/{name}", Body=data)

    def read(self, name: str) -> bytes | None:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=f"{PREFIX}/{name}")
        except self.client.exceptions.NoSuchKey:
            return None
        with answer["Body"] as body:
            return body.read()

    def names(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = (item["Key"] for page in pages for item in page.get("Contents", ()))
        return {key.removeprefix(f"{PREFIX}/") for key in keys}


@pytest.fixture
def raw(s3_endpoint: S3Endpoint, s3_bucket: str) -> RawObjects:
    return RawObjects(s3_endpoint.client(), s3_bucket)


@pytest.fixture(autouse=True)
def aws_environment(s3_endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_endpoint.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def store(s3_bucket: str) -> AsyncIterator[ChunkStore]:
    opened = S3ChunkStore(S3Location(s3_bucket, PREFIX))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def neighbour(s3_bucket: str) -> AsyncIterator[ChunkStore]:
    opened = S3ChunkStore(S3Location(s3_bucket, PREFIX + "-2"))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def small_pages(s3_bucket: str) -> AsyncIterator[ChunkStore]:
    opened = S3ChunkStore(S3Location(s3_bucket, PREFIX), options=S3Options(page_size=3))
    await opened.open()
    yield opened
    await opened.close()


class TestS3ChunkStore(ChunkStoreTests):
    """The contract, kept in a bucket."""


async def test_a_whole_bucket_can_be_a_store(s3_bucket: str) -> None:
    data = chunk_of(10)
    store = S3ChunkStore(S3Location.parse(f"s3://{s3_bucket}"))
    await store.open()
    await store.check()
    await put(store, digest_of(data), data)
    assert [chunk.digest async for chunk in store.list_chunks()] == [digest_of(data)]
    await store.close()


async def test_the_endpoint_can_be_an_option(
    s3_endpoint: S3Endpoint, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    options = S3Options(endpoint_url=s3_endpoint.endpoint_url)
    store = S3ChunkStore(S3Location(s3_bucket, PREFIX), options=options)
    await store.open()
    await store.check()
    await store.close()


async def test_a_bucket_that_does_not_exist_is_named() -> None:
    store = S3ChunkStore(S3Location("no-such-bucket", PREFIX))
    await store.open()
    data = chunk_of(10)
    for call in (
        store.check(),
        put(store, digest_of(data), data),
        store.get(digest_of(data), 10),
        store.delete([digest_of(data)]),
        anext(aiter(store.list_chunks())),
    ):
        with pytest.raises(StoreMisconfigured, match=r"s3://no-such-bucket.*NoSuchBucket"):
            await call
    await store.close()


async def test_an_object_deleted_behind_the_store_is_missing(
    store: ChunkStore, raw: RawObjects
) -> None:
    data = chunk_of(10)
    await put(store, digest_of(data), data)
    raw.client.delete_object(Bucket=raw.bucket, Key=f"{PREFIX}/{name_of(data)}")
    with pytest.raises(ChunkMissing):
        await store.get(digest_of(data), 10)
