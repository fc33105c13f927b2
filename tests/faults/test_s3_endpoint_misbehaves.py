"""An S3 endpoint fails in every way it can; the store retries, then says what is wrong."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import botocore.retries.standard
import pytest

from herdbook_server.ports.chunks import (
    ChunkMissing,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)
from herdbook_server.storage.chunks import s3
from herdbook_server.storage.chunks.layout import CHUNKS, chunk_name
from herdbook_server.storage.chunks.s3 import S3ChunkStore
from herdbook_server.storage.chunks.s3_bucket import S3Location, S3Options
from tests.contract.chunk_store_suite import chunk_of, digest_of, put
from tests.faults.scripted_http import (
    RESET,
    STALL,
    STALL_BEFORE_BODY,
    Answer,
    ScriptedServer,
    error,
    scripted_server,
)
from tests.support.ports import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    OpenStore = Callable[..., Awaitable[S3ChunkStore]]

ATTEMPTS = 3
DATA = chunk_of(100_000)
DIGEST = digest_of(DATA)
KEY = f"prefix/{CHUNKS}/{chunk_name(DIGEST)}"
OK = Answer()
HOLDS_DATA = Answer(body=DATA)


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    backoff = botocore.retries.standard.ExponentialBackoff
    monkeypatch.setattr(backoff, "delay_amount", lambda *_: 0.0)
    monkeypatch.setattr(s3, "_FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def open_store(endpoint: ScriptedServer) -> AsyncIterator[OpenStore]:
    stores: list[S3ChunkStore] = []

    async def open_with(*script: Answer, **changes: Any) -> S3ChunkStore:
        endpoint.script = list(script)
        options = replace(S3Options(endpoint_url=endpoint.url, attempts=ATTEMPTS), **changes)
        stores.append(S3ChunkStore(S3Location("bucket", "prefix"), options=options))
        await stores[-1].open()
        return stores[-1]

    yield open_with
    for store in stores:
        await store.close()


TRANSIENT = [
    error(500, "InternalError"),
    error(502, ""),
    error(503, "SlowDown"),
    error(503, "ServiceUnavailable"),
    error(400, "RequestTimeout"),
    Answer(500),
    Answer(504),
    RESET,
]


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_a_fault_that_passes_is_not_noticed(
    open_store: OpenStore, endpoint: ScriptedServer, fault: Answer
) -> None:
    store = await open_store(fault, fault, OK)
    await put(store, DIGEST, DATA)
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_a_fault_that_lasts_is_unavailability(
    open_store: OpenStore, endpoint: ScriptedServer, fault: Answer
) -> None:
    store = await open_store(fault)
    for call in calls(store):
        endpoint.requests.clear()
        with pytest.raises(StoreUnavailable, match="s3://bucket/prefix"):
            await call()
        # The HTTP client sends again by itself what a reused connection refused to take.
        assert len(endpoint.requests) >= ATTEMPTS


async def test_too_many_requests_is_unavailability(open_store: OpenStore) -> None:
    store = await open_store(error(429, "TooManyRequests"))
    for call in calls(store):
        with pytest.raises(StoreUnavailable):
            await call()


async def test_the_pause_that_the_store_asks_for_is_passed_on(open_store: OpenStore) -> None:
    store = await open_store(error(503, "SlowDown", Retry_After="7"))
    with pytest.raises(StoreUnavailable) as caught:
        await put(store, DIGEST, DATA)
    assert caught.value.retry_after_seconds == 7


async def test_a_store_that_falls_silent_is_unavailable(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(STALL, read_timeout_seconds=0.05)
    for call in calls(store):
        endpoint.requests.clear()
        with pytest.raises(StoreUnavailable):
            await call()
        assert len(endpoint.requests) == ATTEMPTS


async def test_a_store_that_is_silent_once_is_asked_again(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(STALL, HOLDS_DATA, read_timeout_seconds=0.5)
    assert await store.get(DIGEST, len(DATA)) == DATA
    assert len(endpoint.requests) == 2


async def test_a_store_that_takes_no_bytes_is_unavailable(open_store: OpenStore) -> None:
    data = chunk_of(32 * 1024 * 1024)
    store = await open_store(STALL_BEFORE_BODY, call_timeout_seconds=0.5)
    with pytest.raises(StoreUnavailable):
        await put(store, digest_of(data), data)


async def test_an_endpoint_where_nothing_listens_is_unavailable(open_store: OpenStore) -> None:
    store = await open_store(OK, endpoint_url=f"http://127.0.0.1:{free_port()}")
    for call in calls(store):
        with pytest.raises(StoreUnavailable):
            await call()


@pytest.mark.parametrize("cut_to_bytes", [1, len(DATA) - 1])
async def test_a_chunk_cut_short_on_the_way_is_read_again(
    open_store: OpenStore, endpoint: ScriptedServer, cut_to_bytes: int
) -> None:
    cut = Answer(body=DATA, cut_to_bytes=cut_to_bytes)
    store = await open_store(cut, cut, HOLDS_DATA)
    assert await store.get(DIGEST, len(DATA)) == DATA
    assert len(endpoint.requests) == 3


async def test_a_chunk_without_a_size_is_unavailability(open_store: OpenStore) -> None:
    store = await open_store(Answer(body=DATA, size=False, closes=True))
    with pytest.raises(StoreUnavailable, match="no size"):
        await store.get(DIGEST, len(DATA))


async def test_a_404_that_is_not_of_s3_has_lost_no_chunk(open_store: OpenStore) -> None:
    store = await open_store(Answer(404, b"<html>no such service</html>"))
    with pytest.raises(StoreError) as caught:
        await store.get(DIGEST, len(DATA))
    assert not isinstance(caught.value, ChunkMissing)


@pytest.mark.parametrize(
    "body",
    [
        b"<ListBucketResult><Contents>",
        (
            b"<ListBucketResult><Contents><Key>k</Key><LastModified>once</LastModified></Contents>"
            b"</ListBucketResult>"
        ),
    ],
    ids=["cut", "no time"],
)
async def test_a_listing_that_makes_no_sense_is_unavailability(
    open_store: OpenStore, body: bytes
) -> None:
    store = await open_store(Answer(body=body))
    with pytest.raises(StoreUnavailable):
        assert [chunk async for chunk in store.list_chunks()]


async def test_a_chunk_cut_short_every_time_is_unavailability(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(Answer(body=DATA, cut_to_bytes=50_000))
    with pytest.raises(StoreUnavailable):
        await store.get(DIGEST, len(DATA))
    assert len(endpoint.requests) == ATTEMPTS


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (404, "NoSuchBucket"),
        (400, "AuthorizationHeaderMalformed"),
        (501, "NotImplemented"),
    ],
)
async def test_a_refusal_is_said_once_and_names_the_bucket(
    open_store: OpenStore, endpoint: ScriptedServer, status: int, code: str
) -> None:
    store = await open_store(error(status, code))
    for call in calls(store):
        endpoint.requests.clear()
        with pytest.raises(StoreMisconfigured, match=f"s3://bucket/prefix.*{code}"):
            await call()
        assert len(endpoint.requests) == 1


@pytest.mark.parametrize("answer", [error(507, "InsufficientStorage"), error(403, "QuotaExceeded")])
async def test_a_store_without_room_is_full(open_store: OpenStore, answer: Answer) -> None:
    store = await open_store(answer)
    with pytest.raises(StoreFull):
        await put(store, DIGEST, DATA)


async def test_a_missing_object_is_asked_for_once(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(error(404, "NoSuchKey"))
    with pytest.raises(ChunkMissing):
        await store.get(DIGEST, len(DATA))
    assert len(endpoint.requests) == 1


async def test_bytes_that_changed_on_their_way_can_be_put_again(open_store: OpenStore) -> None:
    store = await open_store(error(400, "BadDigest"))
    with pytest.raises(StoreUnavailable):
        await put(store, DIGEST, DATA)


def refusing_deletion(code: str, key: str = KEY) -> Answer:
    return Answer(
        body=b"<DeleteResult><Error><Key>%s</Key><Code>%s</Code><Message>because</Message>"
        b"</Error></DeleteResult>" % (key.encode(), code.encode())
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [("AccessDenied", StoreMisconfigured), ("InternalError", StoreUnavailable)],
)
async def test_what_is_not_deleted_is_told(
    open_store: OpenStore, code: str, kind: type[StoreError]
) -> None:
    store = await open_store(refusing_deletion(code))
    failures = await store.delete([DIGEST])
    assert {digest: type(failure) for digest, failure in failures.items()} == {DIGEST: kind}


@pytest.mark.parametrize("key", ["", "another"])
async def test_a_deletion_refused_of_nobody_knows_what_is_no_success(
    open_store: OpenStore, key: str
) -> None:
    store = await open_store(refusing_deletion("AccessDenied", key))
    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        await store.delete([DIGEST])


async def test_a_cancelled_call_is_cancelled_and_frees_its_connection(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(STALL, connections=1)
    for _ in range(3):
        endpoint.requests.clear()
        call = asyncio.create_task(store.get(DIGEST, len(DATA)))
        await eventually(lambda: endpoint.requests, "the request arrives")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    endpoint.script = [HOLDS_DATA]
    assert await store.get(DIGEST, len(DATA)) == DATA


async def test_a_damaged_object_frees_its_connection(open_store: OpenStore) -> None:
    store = await open_store(HOLDS_DATA, connections=1)
    for _ in range(3):
        with pytest.raises(Exception, match="in the store, not 7"):
            await store.get(DIGEST, 7)
    assert await store.get(DIGEST, len(DATA)) == DATA


async def test_a_chunk_is_sent_at_once_and_with_its_digest(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(OK)
    await put(store, DIGEST, DATA)
    (head,) = endpoint.requests
    assert f"x-amz-checksum-sha256: {base64.b64encode(DIGEST).decode()}" in head
    assert "expect:" not in head.lower()


async def test_a_bucket_is_named_in_the_path_of_a_custom_endpoint(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(OK, endpoint_url=endpoint.url.replace("127.0.0.1", "localhost"))
    await put(store, DIGEST, DATA)
    assert endpoint.requests[0].startswith("PUT /bucket/prefix/chunks/")


async def test_no_more_than_a_thousand_chunks_are_deleted_by_one_request(
    open_store: OpenStore, endpoint: ScriptedServer
) -> None:
    store = await open_store(Answer(body=b"<DeleteResult></DeleteResult>"))
    await store.delete([digest_of(number.to_bytes(4)) for number in range(2001)])
    assert len(endpoint.requests) == 3


async def test_missing_credentials_are_a_misconfiguration(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = await open_store(OK)
    with pytest.raises(StoreMisconfigured, match="credentials"):
        await store.check()


async def test_an_endpoint_that_is_no_address_is_a_misconfiguration() -> None:
    store = S3ChunkStore(S3Location("bucket", ""), options=S3Options(endpoint_url="nonsense"))
    with pytest.raises(StoreMisconfigured, match="nonsense"):
        await store.open()
    await store.close()


def calls(store: S3ChunkStore) -> list[Callable[[], Awaitable[object]]]:
    """Return one call of every kind."""
    return [
        lambda: put(store, DIGEST, DATA),
        lambda: store.get(DIGEST, len(DATA)),
        lambda: store.delete([DIGEST]),
        lambda: anext(aiter(store.list_chunks())),
        store.check,
    ]
