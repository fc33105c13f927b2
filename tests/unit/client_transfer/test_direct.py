"""Signed requests to a store that misbehaves: what does not come so is nobody's error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from herdbook.core.manifests import MAX_CHUNK_BYTES
from herdbook.core.operations.artifacts import SignedRequest
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.direct import Direct
from tests.faults.scripted_http import RESET, STALL, Answer, ScriptedServer, error, scripted_server
from tests.support.waiting import eventually

DEADLINE_SECONDS = 20
GOOD = Answer(body=b"chunk")


@pytest.fixture
async def store() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as scripted:
        yield scripted


@pytest.fixture
def cancel() -> CancelToken:
    return CancelToken()


@pytest.fixture
def direct(cancel: CancelToken) -> Iterator[Direct]:
    with closing(Direct(cancel, encrypted=False, offered=True)) as made:
        yield made


async def fetched(direct: Direct, store: ScriptedServer, *names: str) -> dict[str, bytes]:
    requests = {name: SignedRequest(f"{store.url}/{name}?signed", {"x-a": "1"}) for name in names}
    return await asyncio.to_thread(lambda: dict(direct.fetch(requests)))


async def test_a_request_is_made_as_it_was_signed(direct: Direct, store: ScriptedServer) -> None:
    store.script = [GOOD]
    assert await fetched(direct, store, "a") == {"a": b"chunk"}
    (head,) = store.requests
    assert head.startswith("GET /a?signed HTTP/1.1\r\n")
    assert "x-a: 1\r\n" in head


async def test_chunks_are_sent_as_they_are(direct: Direct, store: ScriptedServer) -> None:
    store.script = [GOOD]
    request = SignedRequest(f"{store.url}/a", {})
    await asyncio.to_thread(direct.send, {b"a": request}, {b"a": b"chunk"})
    (head,) = store.requests
    assert head.startswith("PUT /a")
    assert "Content-Length: 5\r\n" in head


@pytest.mark.parametrize("failure", [RESET, error(503, "SlowDown")], ids=["reset", "503"])
async def test_what_fails_once_is_tried_again(
    direct: Direct, store: ScriptedServer, failure: Answer
) -> None:
    store.script = [failure, GOOD]
    assert await fetched(direct, store, "a") == {"a": b"chunk"}


async def test_a_store_that_fails_is_soon_left_alone(direct: Direct, store: ScriptedServer) -> None:
    store.script = [error(403, "AccessDenied")]
    assert await fetched(direct, store, *map(str, range(50))) == {}
    assert not direct.usable
    assert len(store.requests) < 20
    asked = len(store.requests)
    assert await fetched(direct, store, "a") == {}
    assert len(store.requests) == asked


async def test_a_connection_is_used_again(direct: Direct, store: ScriptedServer) -> None:
    store.script = [GOOD]
    for name in "abc":
        assert await fetched(direct, store, name) == {name: b"chunk"}
    assert [len(idle) for idle in direct._idle.values()] == [1]


async def test_more_than_a_chunk_is_not_read(direct: Direct, store: ScriptedServer) -> None:
    store.script = [Answer(body=bytes(3 * MAX_CHUNK_BYTES)), GOOD]
    assert await fetched(direct, store, "a") == {"a": bytes(MAX_CHUNK_BYTES + 1)}
    assert await fetched(direct, store, "b") == {"b": b"chunk"}


async def test_who_encrypts_makes_no_request_in_the_clear(store: ScriptedServer) -> None:
    store.script = [GOOD]
    assert await fetched(Direct(CancelToken(), encrypted=True, offered=True), store, "a") == {}
    assert store.requests == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "nonsense", "http://[", "http://host:port/"])
async def test_an_address_that_is_none_is_no_error(direct: Direct, url: str) -> None:
    requests = {"a": SignedRequest(url, {})}
    assert await asyncio.to_thread(lambda: dict(direct.fetch(requests))) == {}


async def test_a_request_that_hangs_is_given_up_with_the_transfer(
    direct: Direct, cancel: CancelToken, store: ScriptedServer
) -> None:
    store.script = [STALL]
    fetching = asyncio.create_task(fetched(direct, store, "a"))
    await eventually(lambda: bool(store.requests), "the store was asked")
    async with asyncio.timeout(DEADLINE_SECONDS):
        cancel.cancel()
        assert await fetching == {}
