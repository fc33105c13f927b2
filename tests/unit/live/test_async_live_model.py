from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from herdbook.errors import ClientClosed
from herdbook.live import AsyncLiveModel, FirstLoadFailed, LiveState, NotServing
from tests.support.waiting import eventually
from tests.unit.live.registries import REFERENCE, MemoryRegistry, Model


async def load(path: Path) -> Model:
    await asyncio.sleep(0)
    return await asyncio.to_thread(Model, path)


async def test_async_functions_run_in_the_loop_that_started(registry: MemoryRegistry) -> None:
    loop = asyncio.get_running_loop()
    loops: dict[str, asyncio.AbstractEventLoop] = {}

    async def loader(path: Path) -> Model:
        loops["loader"] = asyncio.get_running_loop()
        return await load(path)

    async def warmup(_: Model) -> None:
        loops["warmup"] = asyncio.get_running_loop()

    async def validate(_: Model) -> bool:
        loops["validate"] = asyncio.get_running_loop()
        return True

    async def close(model: Model) -> None:
        loops["close"] = asyncio.get_running_loop()
        model.close()

    async with AsyncLiveModel(
        REFERENCE, loader=loader, warmup=warmup, validate=validate, close=close
    ) as live:
        assert live.current.predict() == "one"
        assert live.version == 1
    assert loops == dict.fromkeys(("loader", "warmup", "validate", "close"), loop)
    assert Model.made[0].close_count == 1
    assert registry.closed.is_set()


async def test_plain_functions_run_in_a_thread_and_leave_the_loop_free(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    go_on = threading.Event()
    loading = asyncio.Event()
    loop = asyncio.get_running_loop()

    def loader(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            loop.call_soon_threadsafe(loading.set)
            assert go_on.wait(30)
        return model

    async with AsyncLiveModel(REFERENCE, loader=loader) as live:
        registry.move(2)
        await asyncio.wait_for(loading.wait(), 30)
        async with live.lease() as model:
            assert model.predict() == "one"
        go_on.set()
        await eventually(lambda: live.current.predict() == "two", "version 2 serves")


async def test_a_leased_model_is_closed_only_after_its_lease(registry: MemoryRegistry) -> None:
    registry.add("two")
    async with AsyncLiveModel(REFERENCE, loader=load) as live:
        lease = live.lease()
        async with lease as model:
            assert lease.version == 1
            registry.move(2)
            await eventually(lambda: live.version == 2, "version 2 serves")
            assert model.predict() == "one"
            del model
        await eventually(lambda: Model.made[0].close_count == 1, "the first model is closed")


async def test_a_lease_is_used_once(registry: MemoryRegistry) -> None:
    async with AsyncLiveModel(REFERENCE, loader=load) as live:
        lease = live.lease()
        async with lease:
            with pytest.raises(RuntimeError, match="used once"):
                await lease.__aenter__()
        await lease.__aexit__(None, None, None)
        assert live.status().leases == 0


async def test_a_failing_async_candidate_leaves_the_model_in_place(
    registry: MemoryRegistry,
) -> None:
    async with AsyncLiveModel(REFERENCE, loader=load) as live:
        registry.move(registry.add("broken"))
        await eventually(lambda: live.status().state is LiveState.FAILED, "it has failed")
        failure = live.status().failure
        assert failure is not None
        assert "broken does not load" in failure.reason
        assert live.current.predict() == "one"


async def test_unload_first_makes_leases_wait_without_blocking_the_loop(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    loading, go_on = asyncio.Event(), asyncio.Event()

    async def loader(path: Path) -> Model:
        model = await load(path)
        if model.text == "two":
            loading.set()
            await go_on.wait()
        return model

    async def answer() -> str:
        async with live.lease() as model:
            return model.predict()

    async with AsyncLiveModel(REFERENCE, loader=loader, swap="unload-first") as live:
        registry.move(2)
        await asyncio.wait_for(loading.wait(), 30)
        waiting = asyncio.create_task(answer())
        given_up = asyncio.create_task(answer())
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(NotServing):
            async with live.lease(timeout_seconds=0):
                pass
        go_on.set()
        assert await waiting == "two"
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await eventually(lambda: live.status().leases == 0, "no lease is lost")


async def test_any_number_of_leases_wait_no_longer_than_they_are_told(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    loading, go_on = asyncio.Event(), asyncio.Event()

    async def loader(path: Path) -> Model:
        model = await load(path)
        if model.text == "two":
            loading.set()
            await go_on.wait()
        return model

    async def waited_seconds() -> float:
        started_at = time.monotonic()
        with pytest.raises(NotServing):
            async with live.lease(timeout_seconds=0.2):
                pass
        return time.monotonic() - started_at

    async with AsyncLiveModel(REFERENCE, loader=loader, swap="unload-first") as live:
        registry.move(2)
        await asyncio.wait_for(loading.wait(), 30)
        assert max(await asyncio.gather(*(waited_seconds() for _ in range(200)))) < 2
        go_on.set()


async def test_closing_ends_the_wait_of_leases(registry: MemoryRegistry) -> None:
    registry.add("two")
    loading = asyncio.Event()

    async def loader(path: Path) -> Model:
        model = await load(path)
        if model.text == "two":
            loading.set()
            await asyncio.Event().wait()
        return model

    async def answer() -> str:
        async with live.lease() as model:
            return model.predict()

    live = await AsyncLiveModel(REFERENCE, loader=loader, swap="unload-first").start()
    registry.move(2)
    await asyncio.wait_for(loading.wait(), 30)
    waiting = asyncio.create_task(answer())
    await asyncio.sleep(0)
    await live.close()
    with pytest.raises(NotServing, match="closed"):
        await waiting


async def test_closing_twice_at_once_closes_the_model_once_and_whole(
    registry: MemoryRegistry,
) -> None:
    closing, go_on = asyncio.Event(), asyncio.Event()

    async def close(model: Model) -> None:
        closing.set()
        await go_on.wait()
        model.close()

    live = await AsyncLiveModel(REFERENCE, loader=load, close=close).start()
    first = asyncio.create_task(live.close())
    await asyncio.wait_for(closing.wait(), 30)
    await live.close()
    go_on.set()
    await first
    assert Model.made[0].close_count == 1


async def test_a_first_model_that_does_not_load_is_an_error_with_its_cause(
    registry: MemoryRegistry,
) -> None:
    registry.move(registry.add("broken"))
    with pytest.raises(FirstLoadFailed, match="broken does not load") as caught:
        await AsyncLiveModel(REFERENCE, loader=load).start()
    assert isinstance(caught.value.__cause__, ValueError)
    assert registry.closed.is_set()


async def test_a_start_that_hangs_in_an_async_loader_ends_in_time(
    registry: MemoryRegistry,
) -> None:
    cancelled = asyncio.Event()

    async def loader(_: Path) -> Model:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    with pytest.raises(FirstLoadFailed, match="still loading"):
        await AsyncLiveModel(REFERENCE, loader=loader, timeout_seconds=0.2).start()
    await asyncio.wait_for(cancelled.wait(), 30)
    assert registry.closed.is_set()


async def test_a_cancelled_start_leaves_nothing_running(registry: MemoryRegistry) -> None:
    loading = asyncio.Event()

    async def loader(_: Path) -> Model:
        loading.set()
        await asyncio.Event().wait()
        raise AssertionError

    start = asyncio.create_task(AsyncLiveModel(REFERENCE, loader=loader).start())
    await asyncio.wait_for(loading.wait(), 30)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert registry.closed.is_set()


async def test_a_closed_async_live_model_says_so(registry: MemoryRegistry) -> None:
    live = await AsyncLiveModel(REFERENCE, loader=load).start()
    assert await live.start() is live
    await live.close()
    await live.close()
    assert len(registry.replicas) == 1
    with pytest.raises(NotServing, match="closed"):
        _ = live.current
    with pytest.raises(ClientClosed):
        await live.start()


async def test_no_prediction_fails_while_the_alias_moves(registry: MemoryRegistry) -> None:
    numbers = [registry.add(f"text {number}") for number in range(2, 6)]
    done = asyncio.Event()
    answers: set[str] = set()

    async def predict() -> None:
        while not done.is_set():
            async with live.lease() as model:
                await asyncio.sleep(0)
                answers.add(model.predict())

    async with AsyncLiveModel(REFERENCE, loader=load) as live:
        tasks = [asyncio.create_task(predict()) for _ in range(4)]
        for number in numbers * 5:
            registry.move(number)
            await eventually(lambda: live.version == number, "it serves")  # noqa: B023
        done.set()
        await asyncio.gather(*tasks)
        del tasks
    assert answers <= {"one", *(f"text {number}" for number in numbers)}
    assert all(model.close_count == 1 for model in Model.made)


@pytest.mark.parametrize("how", ["async", "plain"])
async def test_a_lease_that_outlives_the_wait_closes_its_model_beside_the_loop(
    registry: MemoryRegistry, how: str
) -> None:
    threads: list[threading.Thread] = []

    async def close_async(model: Model) -> None:
        await asyncio.sleep(0.01)
        model.close()

    def close_plain(model: Model) -> None:
        threads.append(threading.current_thread())
        model.close()

    live = AsyncLiveModel(
        REFERENCE,
        loader=load,
        close=close_async if how == "async" else close_plain,
        drain_timeout_seconds=0.05,
    )
    async with live, live.lease() as first:
        registry.move(registry.add("two"))
        await eventually(lambda: live.version == 2, "version 2 serves")
        await eventually(lambda: live.status().state is LiveState.SERVING, "it has been waited for")
        assert first.close_count == 0
    await eventually(lambda: [model.close_count for model in Model.made] == [1, 1], "all closed")
    assert threading.main_thread() not in threads


async def test_a_second_start_waits_for_the_first_model_too(registry: MemoryRegistry) -> None:
    go_on = asyncio.Event()

    async def loader(path: Path) -> Model:
        await go_on.wait()
        return await load(path)

    live = AsyncLiveModel(REFERENCE, loader=loader)
    starts = [asyncio.create_task(live.start()) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert not any(start.done() for start in starts)
    starts[2].cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*starts[:2]) == [live, live]
    assert live.current.predict() == "one"
    assert registry.downloading.is_set()
    await live.close()
    assert [model.close_count for model in Model.made] == [1]
