"""Signed requests to a store that misbehaves: what does not come so is nobody's error."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from herdbook.core.manifests import MAX_CHUNK_BYTES
from herdbook.core.operations.artifacts import SignedRequest
from herdbook.transfer.cancellation import CancelToken
from herdbook.transport import direct as transport
from herdbook.transport import direct_connections
from herdbook.transport.connection import TLS, Connection
from herdbook.transport.direct import Direct, Patience
from tests.faults.scripted_http import RESET, STALL, Answer, ScriptedServer, error, scripted_server
from tests.support.ports import LOOPBACK, free_port
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
def direct() -> Iterator[Direct]:
    with closing(Direct(Connection("localhost:1"))) as made:
        yield made


def request(url: str, method: str = "GET", **headers: str) -> SignedRequest:
    return SignedRequest(
        method, url, {name.replace("_", "-"): value for name, value in headers.items()}
    )


async def fetched(
    direct: Direct, store: ScriptedServer, *names: str, cancel: CancelToken | None = None
) -> dict[str, bytes]:
    requests = {name: request(f"{store.url}/{name}?signed", x_amz_a="1") for name in names}
    breaks_off = (cancel or CancelToken()).breaks_off
    return await asyncio.to_thread(lambda: dict(direct.fetch(requests, breaks_off)))


async def sent(direct: Direct, store: ScriptedServer, data: bytes) -> list[bytes]:
    requests = {b"a": request(f"{store.url}/a", "PUT")}
    breaks_off = CancelToken().breaks_off
    return await asyncio.to_thread(lambda: list(direct.send(requests, {b"a": data}, breaks_off)))


async def test_a_request_is_made_as_it_was_signed(direct: Direct, store: ScriptedServer) -> None:
    store.script = [GOOD]
    assert await fetched(direct, store, "a") == {"a": b"chunk"}
    (head,) = store.requests
    assert head.startswith("GET /a?signed HTTP/1.1\r\n")
    assert "x-amz-a: 1\r\n" in head


async def test_chunks_are_sent_as_they_are(direct: Direct, store: ScriptedServer) -> None:
    store.script = [GOOD]
    assert await sent(direct, store, bytes(200_000)) == [b"a"]
    (head,) = store.requests
    assert head.startswith("PUT /a")
    assert "Content-Length: 200000\r\n" in head
    assert "Transfer-Encoding" not in head


async def test_what_is_refused_counts_as_not_sent(direct: Direct, store: ScriptedServer) -> None:
    store.script = [error(403, "AccessDenied")]
    assert await sent(direct, store, b"chunk") == []


@pytest.mark.parametrize("failure", [RESET, error(503, "SlowDown")], ids=["reset", "503"])
async def test_what_fails_once_is_tried_again(
    direct: Direct, store: ScriptedServer, failure: Answer
) -> None:
    store.script = [failure, GOOD]
    assert await fetched(direct, store, "a") == {"a": b"chunk"}


async def test_a_store_that_fails_is_left_alone_for_a_while(
    direct: Direct, store: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.script = [error(403, "AccessDenied")]
    assert await fetched(direct, store, *map(str, range(50))) == {}
    assert not direct.fetching.is_left
    assert direct.sending.is_left
    assert len(store.requests) < 30
    asked = len(store.requests)
    assert await fetched(direct, store, "a") == {}
    assert len(store.requests) == asked
    store.script = [GOOD]
    direct.fetching._rests_until = 0.0
    assert await fetched(direct, store, "a") == {"a": b"chunk"}


async def test_that_a_store_is_left_alone_is_said_once(
    direct: Direct, store: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    store.script = [error(403, "AccessDenied")]
    await fetched(direct, store, *map(str, range(50)))
    assert [record.getMessage() for record in caplog.records] == [
        "Chunks go through the server for now: S3 answered with status 403"
    ]


async def test_a_connection_is_used_again(direct: Direct, store: ScriptedServer) -> None:
    store.script = [GOOD]
    for name in "abc":
        assert await fetched(direct, store, name) == {name: b"chunk"}
    assert [len(idle) for idle in direct._connections._idle.values()] == [1]


async def test_a_connection_that_the_store_closed_is_replaced(
    direct: Direct, store: ScriptedServer
) -> None:
    store.script = [Answer(body=b"chunk", closes=True)]
    for name in "abc":
        assert await fetched(direct, store, name) == {name: b"chunk"}
    assert len(store.requests) == 3


async def test_a_store_that_cannot_be_reached_is_tried_once(
    direct: Direct, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = f"http://{LOOPBACK}:{free_port()}"
    requests = {name: request(f"{nobody}/{name}") for name in "abc"}
    breaks_off = CancelToken().breaks_off
    assert await asyncio.to_thread(lambda: dict(direct.fetch(requests, breaks_off))) == {}
    assert not direct.fetching.is_left
    (record,) = caplog.records
    assert f"{LOOPBACK} cannot be reached" in record.getMessage()


async def test_a_host_with_addresses_that_do_not_answer_is_given_up(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    class Silent(socket.socket):
        def connect(self, address: object) -> None:
            asked.append(self.gettimeout())
            raise TimeoutError("timed out")

    addresses = socket.getaddrinfo(LOOPBACK, 9, type=socket.SOCK_STREAM) * 3
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    monkeypatch.setattr(socket, "socket", Silent)
    monkeypatch.setattr(direct_connections, "_CONNECT_SECONDS", 0.5)
    breaks_off = CancelToken().breaks_off
    calls = {"a": request("http://s3.test/a")}
    assert await asyncio.to_thread(lambda: dict(direct.fetch(calls, breaks_off))) == {}
    assert len(asked) == 3
    assert all(seconds is not None and 0 < seconds <= 0.5 for seconds in asked)


async def test_a_store_behind_a_proxy_is_left_to_the_server(
    direct: Direct, store: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:9")
    monkeypatch.setenv("no_proxy", "")
    store.script = [GOOD]
    assert await fetched(direct, store, "a") == {}
    monkeypatch.setenv("no_proxy", LOOPBACK)
    direct.fetching._rests_until = 0.0
    assert await fetched(direct, store, "a") == {"a": b"chunk"}


def test_each_rest_is_longer_until_something_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    patience, rests = Patience(wanted=True), []
    for _ in range(8):
        began = now
        patience.rest("S3 is away")
        while not patience.is_left:
            now += 1
        rests.append(now - began)
    assert rests == [60, 120, 240, 480, 960, 960, 960, 960]
    patience.answered()
    assert patience._rest_seconds == 960
    patience.succeeded()
    patience.rest("S3 is away")
    assert patience._rests_until - now == 60


async def test_more_than_a_chunk_is_not_read(direct: Direct, store: ScriptedServer) -> None:
    unending = Answer(headers={"Transfer-Encoding": "chunked"}, body=b"-1\r\n", size=False)
    for answer in (Answer(body=bytes(3 * MAX_CHUNK_BYTES)), unending):
        store.script = [answer, GOOD]
        assert await fetched(direct, store, "a") == {}
        assert await fetched(direct, store, "b") == {"b": b"chunk"}


async def test_a_request_takes_no_longer_than_it_may(
    direct: Direct, store: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_REQUEST_SECONDS", 0.1)
    monkeypatch.setattr(transport, "_LOOK_SECONDS", 0.1)
    store.script = [STALL]
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await fetched(direct, store, "a") == {}


async def test_an_answer_that_is_cut_short_is_none(direct: Direct, store: ScriptedServer) -> None:
    store.script = [Answer(body=b"chunk", cut_to_bytes=2), GOOD]
    assert await fetched(direct, store, "a") == {"a": b"chunk"}


async def test_answers_that_nobody_takes_are_few(direct: Direct, store: ScriptedServer) -> None:
    store.script = [GOOD]

    def consume() -> int:
        requests = {name: request(f"{store.url}/{name}") for name in range(100)}
        with closing(direct.fetch(requests, CancelToken().breaks_off)) as answers:
            next(answers)
            time.sleep(0.3)
            return len(store.requests)

    assert await asyncio.to_thread(consume) <= 8


async def test_who_encrypts_makes_no_request_in_the_clear(store: ScriptedServer) -> None:
    store.script = [GOOD]
    assert await fetched(Direct(Connection("localhost:1", tls=TLS())), store, "a") == {}
    assert store.requests == []


async def test_who_does_not_want_it_makes_no_request(store: ScriptedServer) -> None:
    store.script = [GOOD]
    assert await fetched(Direct(Connection("localhost:1", direct=False)), store, "a") == {}
    assert store.requests == []


@pytest.mark.parametrize(
    "signed",
    [
        request("file:///etc/passwd"),
        request("nonsense"),
        request("http://["),
        request("http://host:port/"),
        request("ftp:{store}/a"),
        request("{store}/a", "DELETE"),
        request("{store}/a", authorization="Bearer token"),
    ],
    ids=["file", "nonsense", "bracket", "port", "scheme", "method", "header"],
)
async def test_a_request_that_no_store_signs_is_not_made(
    direct: Direct, store: ScriptedServer, signed: SignedRequest
) -> None:
    store.script = [GOOD]
    there = replace(signed, url=signed.url.replace("{store}", store.url))
    breaks_off = CancelToken().breaks_off
    answers = await asyncio.to_thread(lambda: dict(direct.fetch({"a": there}, breaks_off)))
    assert answers == {}
    assert store.requests == []


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept", "closed"])
async def test_a_request_that_hangs_is_given_up_with_the_transfer(
    direct: Direct, cancel: CancelToken, store: ScriptedServer, headers: dict[str, str]
) -> None:
    store.script = [Answer(body=b"chunk", cut_to_bytes=2, stalls=True, headers=headers)]
    fetching = asyncio.create_task(fetched(direct, store, "a", cancel=cancel))
    await eventually(lambda: bool(store.requests), "the store was asked")
    async with asyncio.timeout(DEADLINE_SECONDS):
        cancel.cancel()
        assert await fetching == {}


async def test_a_transfer_that_is_given_up_while_it_connects_spoils_no_other(
    direct: Direct, cancel: CancelToken, store: ScriptedServer
) -> None:
    """What is asked for by TLS here waits for a handshake that the store never begins."""
    store.script = [STALL]
    requests = {"a": request(store.url.replace("http:", "https:") + "/a")}
    waiting = asyncio.create_task(
        asyncio.to_thread(lambda: dict(direct.fetch(requests, cancel.breaks_off)))
    )
    await eventually(lambda: store.connections == 1, "the store was connected to")
    async with asyncio.timeout(DEADLINE_SECONDS):
        cancel.cancel()
        assert await waiting == {}
    assert direct.fetching.is_left


async def test_closing_ends_what_is_under_way(direct: Direct, store: ScriptedServer) -> None:
    store.script = [STALL]
    fetching = asyncio.create_task(fetched(direct, store, "a"))
    await eventually(lambda: bool(store.requests), "the store was asked")
    async with asyncio.timeout(DEADLINE_SECONDS):
        direct.close()
        assert await fetching == {}
    store.script = [GOOD]
    assert await fetched(direct, store, "a") == {}
    assert not direct._connections._idle


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://s3.test:443/a", "s3.test"),
        ("https://s3.test:9000/a", "s3.test:9000"),
        ("http://s3.test:80/a", "s3.test"),
        ("http://s3.test/a", "s3.test"),
    ],
)
def test_the_host_is_named_as_it_was_signed(url: str, host: str) -> None:
    connection = direct_connections._unconnected(urlsplit(url))
    near, far = socket.socketpair()
    connection.sock = near
    connection.request("GET", "/a")
    assert f"\r\nHost: {host}\r\n" in far.recv(1000).decode()
    connection.close()
    far.close()


@pytest.mark.parametrize("status", [403, 404])
async def test_what_is_refused_is_not_asked_again(
    direct: Direct, store: ScriptedServer, status: int
) -> None:
    store.script = [error(status, "Refused")]
    assert await fetched(direct, store, "a") == {}
    assert len(store.requests) == 1


async def test_a_consumer_that_fails_waits_for_no_request(
    direct: Direct, store: ScriptedServer
) -> None:
    store.script = [GOOD, STALL]

    def consume() -> None:
        requests = {name: request(f"{store.url}/{name}") for name in "abc"}
        with closing(direct.fetch(requests, CancelToken().breaks_off)) as answers:
            next(answers)

    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.to_thread(consume)


async def test_a_consumer_that_fails_ends_the_requests(
    direct: Direct, store: ScriptedServer
) -> None:
    store.script = [GOOD]

    def consume() -> None:
        requests = {name: request(f"{store.url}/{name}") for name in range(200)}
        with closing(direct.fetch(requests, CancelToken().breaks_off)) as answers:
            next(answers)

    await asyncio.to_thread(consume)
    assert len(store.requests) < 200
