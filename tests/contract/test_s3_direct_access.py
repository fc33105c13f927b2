"""Signed requests: which S3 servers clients may upload to, and what is left of an upload."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from herdbook_server.ports.chunks import StoreUnavailable
from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.values import ChunkRef
from herdbook_server.storage.chunks import s3_direct, s3_probe
from herdbook_server.storage.chunks.s3 import S3ChunkStore
from herdbook_server.storage.chunks.s3_bucket import S3Location, S3Options
from herdbook_server.storage.chunks.s3_direct import S3DirectAccess
from herdbook_server.storage.chunks.s3_incoming import S3Incoming
from herdbook_server.storage.chunks.s3_probe import S3Probe
from tests.contract.chunk_store_suite import chunk_of, digest_of
from tests.support.http_front import Request, forward, http_front
from tests.support.s3 import S3Endpoint, running_s3
from tests.support.strict_s3 import Refusal, strict_s3
from tests.support.waiting import eventually

BUCKET = "direct"
LOCATION = S3Location(BUCKET, "prefix")
BATCH = "b" * 64
DATA = chunk_of(1000)
CHUNK = ChunkRef(digest_of(DATA), len(DATA))


@pytest.fixture(scope="module")
def lax() -> Iterator[S3Endpoint]:
    """An S3 server that verifies nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERDBOOK_TEST_S3_SERVER", "moto")
        with running_s3() as endpoint:
            endpoint.client().create_bucket(Bucket=BUCKET)
            yield endpoint


@pytest.fixture
def strict(lax: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of one that verifies what is signed."""
    for name, value in lax.environment().items():
        monkeypatch.setenv(name, value)
    with strict_s3(lax.endpoint_url, lax.secret_access_key) as url:
        yield url


@pytest.fixture
async def access(strict: str) -> AsyncIterator[S3DirectAccess]:
    opened = S3DirectAccess(LOCATION, options=S3Options(endpoint_url=strict))
    await opened.open()
    yield opened
    await opened.close()


async def made(request: SignedRequest, body: bytes | None = None) -> tuple[int, bytes]:
    """Make a signed request; return status and body of its answer."""

    def make() -> tuple[int, bytes]:
        parts = urlsplit(request.url)
        target = f"{parts.path}?{parts.query}"
        with closing(http.client.HTTPConnection(parts.netloc, timeout=30)) as connection:
            connection.request(request.method, target, body, dict(request.headers))
            answer = connection.getresponse()
            return answer.status, answer.read()

    return await asyncio.to_thread(make)


async def bring(access: S3DirectAccess, batch: str) -> None:
    (request,) = await access.sign_puts([CHUNK], batch=batch, seconds=60)
    assert (await made(request, DATA))[0] == http.client.OK


async def takes_uploads(endpoint_url: str) -> bool:
    access = S3DirectAccess(LOCATION, options=S3Options(endpoint_url=endpoint_url, attempts=1))
    await access.open()
    await access.close()
    return access.takes_uploads


def keys(endpoint: S3Endpoint, prefix: str) -> list[str]:
    listed = endpoint.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"] for entry in listed.get("Contents", ())]


@pytest.mark.parametrize("overlooked", list(Refusal), ids=lambda one: one.name)
async def test_clients_upload_only_where_everything_is_verified(
    lax: S3Endpoint, strict: str, overlooked: Refusal
) -> None:
    assert await takes_uploads(strict)
    with strict_s3(lax.endpoint_url, lax.secret_access_key, overlooks=overlooked) as url:
        assert not await takes_uploads(url)
    assert not await takes_uploads(lax.endpoint_url)
    assert keys(lax, "prefix/incoming/probe") == []


async def test_clients_do_not_upload_where_s3_does_not_answer(strict: str) -> None:
    assert not await takes_uploads("http://127.0.0.1:9")


@pytest.mark.parametrize("prefix", ["prefix", "env=prod", "my models/a+b", ""])
async def test_what_was_brought_and_kept_is_a_chunk(strict: str, prefix: str) -> None:
    location, options = S3Location(BUCKET, prefix), S3Options(endpoint_url=strict)
    access = S3DirectAccess(location, options=options)
    await access.open()
    await bring(access, BATCH)
    assert await access.brought([CHUNK], batch=BATCH) == [CHUNK]
    assert await access.brought([CHUNK], batch="another") == []
    assert await access.keep([CHUNK], batch=BATCH) == {}
    store = S3ChunkStore(location, options=options)
    await store.open()
    assert await store.get(CHUNK.digest, CHUNK.size_bytes) == DATA
    await store.close()
    (request,) = await access.sign_gets([CHUNK.digest], seconds=60)
    await access.close()
    assert await made(request) == (http.client.OK, DATA)


async def test_what_was_not_brought_is_not_kept(access: S3DirectAccess) -> None:
    assert list(await access.keep([CHUNK], batch="nothing")) == [CHUNK.digest]


async def test_a_copy_that_s3_only_speaks_of_is_not_kept(lax: S3Endpoint, strict: str) -> None:
    def answer(request: Request, body: bytes) -> None:
        if request.headers.get("x-amz-copy-source"):
            request.send_response(200)
            request.send_header("Content-Length", "0")
            request.end_headers()
        else:
            forward(request, body, strict)

    location = S3Location(BUCKET, "spoken-of")
    with http_front(answer) as url:
        access = S3DirectAccess(location, options=S3Options(endpoint_url=url, attempts=1))
        await access.open()
        await bring(access, BATCH)
        failures = await access.keep([CHUNK], batch=BATCH)
        await access.close()
    assert {digest: type(why) for digest, why in failures.items()} == {
        CHUNK.digest: StoreUnavailable
    }


async def test_what_was_brought_is_discarded(access: S3DirectAccess, lax: S3Endpoint) -> None:
    await bring(access, "one")
    await bring(access, BATCH)
    await access.discard([CHUNK.digest], batch="one")
    assert await access.brought([CHUNK], batch="one") == []
    await access.discard_before(int((time.time() - 3600) * 1_000_000))
    assert await access.keep([CHUNK], batch=BATCH) == {}
    await access.discard_before(int((time.time() + 3600) * 1_000_000))
    assert keys(lax, "prefix/incoming/") == []
    assert keys(lax, "prefix/chunks/")


async def test_what_others_keep_there_is_not_discarded(
    access: S3DirectAccess, lax: S3Endpoint
) -> None:
    names = ("report.csv", f"chunks/ab/{'0' * 62}", f"{'0' * 64}/report.csv")
    foreign = [f"prefix/incoming/{name}" for name in names]
    for key in foreign:
        lax.client().put_object(Bucket=BUCKET, Key=key, Body=b"foreign")
    await bring(access, BATCH)
    await access.discard_before(int((time.time() + 3600) * 1_000_000))
    assert sorted(keys(lax, "prefix/incoming/")) == sorted(foreign)
    for key in foreign:
        lax.client().delete_object(Bucket=BUCKET, Key=key)


async def test_a_server_that_is_not_answered_can_stop(
    strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_direct, "PROBE_AWAITED_SECONDS", 0.01)
    asked = asyncio.Event()

    async def hang(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(s3_probe, "_make", hang)
    access = S3DirectAccess(LOCATION, options=S3Options(endpoint_url=strict))
    await access.open()
    await asked.wait()
    monkeypatch.setattr(S3Incoming, "discard", hang)
    async with asyncio.timeout(10):
        await access.close()


async def test_an_answer_that_is_out_of_order_is_no_refusal(
    lax: S3Endpoint, strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    send = s3_probe._send

    def fail_last(*request: Any) -> int:
        nonlocal asked
        asked += 1
        return 503 if asked == 4 else send(*request)

    monkeypatch.setattr(s3_probe, "_send", fail_last)
    access = S3DirectAccess(LOCATION, options=S3Options(endpoint_url=strict))
    await access.open()
    assert asked == 4
    assert not access.takes_uploads
    await access.close()


async def test_clients_may_have_an_endpoint_of_their_own(strict: str) -> None:
    access = S3DirectAccess(
        LOCATION,
        options=S3Options(endpoint_url=strict),
        endpoint_url="https://s3.example.org",
    )
    await access.open()
    assert access.takes_uploads
    (request,) = await access.sign_gets([CHUNK.digest], seconds=60)
    await access.close()
    assert request.url.startswith(f"https://s3.example.org/{BUCKET}/prefix/chunks/")


async def test_requests_to_aws_go_to_the_region(
    strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    access = S3DirectAccess(LOCATION, options=S3Options())
    monkeypatch.setattr(S3Probe, "run", refuse)
    await access.open()
    (request,) = await access.sign_gets([CHUNK.digest], seconds=60)
    await access.close()
    assert request.url.startswith(f"https://{BUCKET}.s3.eu-west-1.amazonaws.com/prefix/chunks/")


async def test_an_endpoint_from_a_profile_is_not_aws(
    strict: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = https://s3.example.org\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(S3Probe, "run", refuse)
    access = S3DirectAccess(LOCATION)
    await access.open()
    (request,) = await access.sign_gets([CHUNK.digest], seconds=60)
    await access.close()
    assert request.url.startswith(f"https://s3.example.org/{BUCKET}/prefix/chunks/")


async def refuse(_: object) -> str:
    return "It is not asked."


async def test_clients_upload_once_s3_has_answered(
    strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_direct, "PROBE_AGAIN_SECONDS", 0.01)
    run, answers = S3Probe.run, itertools.chain([False] * 3, itertools.repeat(True))

    async def run_later(probe: S3Probe) -> str | None:
        if not next(answers):
            raise StoreUnavailable("S3 is away.")
        return await run(probe)

    monkeypatch.setattr(S3Probe, "run", run_later)
    access = S3DirectAccess(LOCATION, options=S3Options(endpoint_url=strict))
    await access.open()
    await eventually(lambda: access.takes_uploads, "S3 was probed")
    await access.close()


async def test_what_is_not_offered_any_more_is_still_discarded(
    access: S3DirectAccess, strict: str, lax: S3Endpoint
) -> None:
    await bring(access, BATCH)
    after = S3DirectAccess(LOCATION, options=S3Options(endpoint_url=strict), offered=False)
    await after.open()
    assert (after.gives_downloads, after.takes_uploads) == (False, False)
    await after.discard_before(int((time.time() + 3600) * 1_000_000))
    await after.close()
    assert keys(lax, "prefix/incoming/") == []


async def test_a_store_that_is_away_is_an_error(access: S3DirectAccess, strict: str) -> None:
    away = S3DirectAccess(
        LOCATION, options=S3Options(endpoint_url="http://127.0.0.1:9", attempts=1)
    )
    await away.open()
    with pytest.raises(StoreUnavailable):
        await away.brought([CHUNK], batch="one")
    await away.close()
