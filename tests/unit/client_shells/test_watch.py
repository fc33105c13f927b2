from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import grpc
import pytest

from herdbook import AsyncClient, Client, ReferenceState, errors
from herdbook.core.values import Bookmark
from herdbook.core.watching import Disconnected, Watch, WatchUpdate
from herdbook.transfer.cancellation import CancelToken
from herdbook.transport import aio_watcher, watcher
from herdbook.v1 import alias_pb2, version_pb2
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.waiting import eventually, wait_until

BREAK = Fault(grpc.StatusCode.UNAVAILABLE, "DRAINING")


def state(revision: int, version: int) -> alias_pb2.ReferenceState:
    return alias_pb2.ReferenceState(
        reference="m@a",
        resolution=version_pb2.Resolution(model="m", version=version),
        revision=revision,
    )


def versions(states: Iterator[ReferenceState], count: int) -> list[int]:
    found = [next(states).resolution for _ in range(count)]
    return [resolution.version for resolution in found if resolution is not None]


def test_a_watch_tells_states_alone(registry: FakeRegistry, client: Client) -> None:
    missing = alias_pb2.ReferenceState(
        reference="m@b", revision=2, missing_reason="ALIAS_NOT_FOUND"
    )
    registry.tell(missing, alias_pb2.Bookmark(revision=3, initial_done=True), state(4, 1))
    states = client.watch(["m@a", "m@b"])
    assert next(states) == ReferenceState("m@b", None, 2, "ALIAS_NOT_FOUND")
    assert versions(states, 1) == [1]


def test_a_watch_tells_of_its_connections(registry: FakeRegistry, client: Client) -> None:
    registry.fail("WatchAliases", BREAK)
    registry.tell(alias_pb2.Bookmark(revision=3, initial_done=True), state(4, 1))
    heard: list[errors.HerdbookError | None] = []
    next(client.watch("m@a", on_contact=heard.append))
    assert [type(each) for each in heard] == [errors.Draining, type(None)]


async def test_a_watch_tells_of_its_connections_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    registry.fail("WatchAliases", BREAK)
    registry.tell(alias_pb2.Bookmark(revision=3, initial_done=True), state(4, 1))
    heard: list[errors.HerdbookError | None] = []
    await anext(aclient.watch("m@a", on_contact=heard.append))
    assert [type(each) for each in heard] == [errors.Draining, type(None)]


def test_what_hears_of_a_break_may_end_the_watch(registry: FakeRegistry, client: Client) -> None:
    def give_up(error: errors.HerdbookError | None) -> None:
        if error is not None:
            raise error

    registry.fail("WatchAliases", BREAK)
    with pytest.raises(errors.Draining):
        next(client.watch("m@a", on_contact=give_up))


def test_a_watch_survives_breaks_and_restarts(registry: FakeRegistry, client: Client) -> None:
    registry.fail("WatchAliases", BREAK, BREAK)
    registry.tell(state(1, 1))
    states = client.watch("m@a")
    assert versions(states, 1) == [1]
    registry.stop()
    registry.updates.queue.clear()
    registry.start()
    registry.tell(state(1, 1), state(2, 2))
    assert versions(states, 1) == [2]
    assert registry.watch_requests[-1].known[0].revision == 1


async def test_a_watch_survives_breaks_and_restarts_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    registry.fail("WatchAliases", BREAK, BREAK)
    registry.tell(state(1, 1))
    states = aclient.watch("m@a")
    assert (await anext(states)).revision == 1
    await asyncio.to_thread(registry.stop)
    registry.updates.queue.clear()
    registry.start()
    registry.tell(state(1, 1), state(2, 2))
    assert (await anext(states)).revision == 2
    assert registry.watch_requests[-1].known[0].revision == 1


def test_closing_the_client_ends_a_watch(registry: FakeRegistry, client: Client) -> None:
    ended = threading.Event()

    def follow() -> None:
        for _ in client.watch("m@a"):
            pass
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    wait_until(lambda: registry.watch_requests, "the watch is open")
    client.close()
    assert ended.wait(10)


async def test_closing_the_client_ends_a_watch_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    async def follow() -> int:
        return len([state async for state in aclient.watch("m@a")])

    task = asyncio.create_task(follow())
    await eventually(lambda: registry.watch_requests, "the watch is open")
    await aclient.close()
    async with asyncio.timeout(10):
        assert await task == 0


def test_a_connection_is_broken_off_while_the_client_stays_open(
    registry: FakeRegistry, client: Client
) -> None:
    cancel = CancelToken()
    registry.tell(state(1, 1))
    updates = watcher.follow(client._caller, Watch.of("m@a"), breaks_off=cancel.breaks_off)
    next(updates)
    threading.Timer(0.05, cancel.cancel).start()
    assert isinstance(next(updates), Disconnected)
    wait_until(lambda: not registry.watching, "the server's call has ended")
    assert client.create_model("still-open")


def test_closing_the_iterator_ends_the_call(registry: FakeRegistry, client: Client) -> None:
    registry.tell(state(1, 1))
    for _ in client.watch("m@a"):
        break
    wait_until(lambda: not _guards(), "no thread is left of the watch")


def _guards() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "herdbook-guard"]


def test_a_watch_that_is_refused_raises(registry: FakeRegistry, client: Client) -> None:
    registry.fail("WatchAliases", Fault(grpc.StatusCode.PERMISSION_DENIED))
    with pytest.raises(errors.PermissionDenied):
        next(client.watch("m@a"))
    with pytest.raises(errors.ReferenceInvalid):
        client.watch("m@")


def test_the_live_model_hears_of_breaks_and_bookmarks(
    registry: FakeRegistry, client: Client
) -> None:
    registry.fail("WatchAliases", BREAK)
    registry.tell(alias_pb2.Bookmark(revision=3, initial_done=True))
    updates = watcher.follow(client._caller, Watch.of("m@a"))
    pause = next(updates)
    assert isinstance(pause, Disconnected)
    assert isinstance(pause.error, errors.Draining)
    assert next(updates) == Bookmark(3, initial_done=True)


def test_a_connection_that_falls_silent_is_given_up(registry: FakeRegistry, client: Client) -> None:
    updates = watcher.follow(client._caller, Watch.of("m@a"), silence_seconds=0.1)
    pause: WatchUpdate = next(updates)
    assert isinstance(pause, Disconnected)
    assert isinstance(pause.error, errors.ConnectionLost)


async def test_a_connection_that_falls_silent_is_given_up_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    updates = aio_watcher.follow(aclient._caller, Watch.of("m@a"), silence_seconds=0.1)
    pause = await anext(updates)
    assert isinstance(pause, Disconnected)
    assert isinstance(pause.error, errors.ConnectionLost)
    await updates.aclose()
