from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from herdbook.core.values import ReplicaState
from herdbook.errors import VersionNotFound
from herdbook.live import AsyncLiveModel, LiveModel, LiveState, LoadTimedOut, NotServing
from herdbook.live.preparing import GIVEN_UP_MAX
from tests.support.waiting import wait_until
from tests.unit.live.registries import (
    REFERENCE,
    MemoryRegistry,
    Model,
    last_state,
    wait_for_text,
)


def test_a_pinned_version_serves_until_it_is_unpinned(
    registry: MemoryRegistry, live: LiveModel[Model]
) -> None:
    assert live.pin(3).version == 3
    wait_for_text(live, "three")
    status = live.status()
    assert status.pinned is not None
    assert (status.pinned.version, status.state) == (3, LiveState.SERVING)
    registry.move(2)
    wait_until(lambda: live.status().target == registry.resolution(2), "the move is heard")
    assert live.current.predict() == "three"
    live.unpin()
    wait_for_text(live, "two")
    assert live.status().pinned is None


def test_a_version_that_is_not_there_is_not_pinned(live: LiveModel[Model]) -> None:
    with pytest.raises(VersionNotFound):
        live.pin(9)
    assert live.status().pinned is None


def test_a_start_without_registry_takes_what_served_before_the_pin(
    registry: MemoryRegistry, live: LiveModel[Model]
) -> None:
    live.pin(3)
    wait_for_text(live, "three")
    live.close()
    registry.break_down()
    with LiveModel(REFERENCE, loader=Model) as again:
        assert again.current.predict() == "one"


def test_a_paused_live_model_stays_until_it_is_resumed(
    registry: MemoryRegistry, live: LiveModel[Model]
) -> None:
    live.pause()
    registry.move(2)
    wait_until(lambda: live.status().target == registry.resolution(2), "the move is heard")
    assert live.status().paused
    assert live.current.predict() == "one"
    live.resume()
    wait_for_text(live, "two")


def test_a_refresh_tries_a_failed_candidate_again(registry: MemoryRegistry) -> None:
    registry.add("two")
    broken = threading.Event()

    def loader(path: Path) -> Model:
        model = Model(path)
        if model.text == "two" and broken.is_set():
            raise RuntimeError("no such layer")
        return model

    broken.set()
    with LiveModel(REFERENCE, loader=loader) as live:
        registry.move(2)
        wait_until(lambda: live.status().state is LiveState.FAILED, "the candidate has failed")
        broken.clear()
        live.refresh()
        wait_for_text(live, "two")


def test_readiness_follows_the_model(registry: MemoryRegistry) -> None:
    live = LiveModel(REFERENCE, loader=Model)
    assert not live.is_ready()
    with pytest.raises(NotServing):
        live.pause()
    with live:
        assert live.is_ready()
        assert (live.status().load_seconds or 0) > 0
    assert not live.is_ready()


def test_a_candidate_that_takes_too_long_has_failed_and_is_closed_in_the_end(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    goes_on = threading.Event()

    def warmup(model: Model) -> None:
        if model.text == "two":
            goes_on.wait()

    with LiveModel(REFERENCE, loader=Model, warmup=warmup, load_timeout_seconds=0.2) as live:
        registry.move(2)
        wait_until(lambda: last_state(registry) is ReplicaState.FAILED, "the failure is reported")
        failure = live.status().failure
        assert failure is not None
        assert isinstance(failure.error, LoadTimedOut)
        assert failure.reason.startswith("warm-up failed: LoadTimedOut: ")
        assert live.current.predict() == "one"
        assert Model.made[1].close_count == 0
        goes_on.set()
        wait_until(lambda: Model.made[1].close_count == 1, "the late candidate is closed")


def test_no_more_candidates_are_begun_while_too_many_hang(registry: MemoryRegistry) -> None:
    registry.add("two")
    goes_on = threading.Event()
    begun: list[Path] = []

    def loader(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            begun.append(path)
            goes_on.wait()
        return model

    with LiveModel(REFERENCE, loader=loader, load_timeout_seconds=0.5, retry_seconds=0.01) as live:
        registry.move(2)
        wait_until(
            lambda: live.status().failure_count > GIVEN_UP_MAX + 1, "it was tried again and again"
        )
        assert len(begun) == GIVEN_UP_MAX
        goes_on.set()
        wait_for_text(live, "two")


def test_who_has_no_model_tries_however_many_hang(registry: MemoryRegistry) -> None:
    for number in range(GIVEN_UP_MAX):
        registry.add(f"hangs {number}")
    goes_on = threading.Event()

    def loader(path: Path) -> Model:
        model = Model(path)
        if model.text.startswith("hangs"):
            goes_on.wait()
        return model

    with LiveModel(REFERENCE, loader=loader, load_timeout_seconds=0.5, swap="unload-first") as live:
        for number in range(GIVEN_UP_MAX):
            registry.move(number + 2)
            wait_until(
                lambda count=number + 1: live.status().failure_count == count, "it has failed"
            )
            wait_until(live.is_ready, "version 1 serves again")
        assert live.current.predict() == "one"
        goes_on.set()


async def test_an_async_loader_that_takes_too_long_is_cancelled(registry: MemoryRegistry) -> None:
    registry.add("two")
    cancelled = asyncio.Event()

    async def loader(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return model

    async with AsyncLiveModel(REFERENCE, loader=loader, load_timeout_seconds=0.2) as live:
        registry.move(2)
        async with asyncio.timeout(20):
            await cancelled.wait()
        assert live.current.predict() == "one"
        assert (await live.pin(1)).version == 1
