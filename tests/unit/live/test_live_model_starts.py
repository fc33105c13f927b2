from __future__ import annotations

import threading
from pathlib import Path

import pytest

from herdbook.core.values import ReplicaState
from herdbook.errors import (
    AliasNotFound,
    ClientClosed,
    Unauthenticated,
    Unavailable,
)
from herdbook.live import (
    FirstLoadFailed,
    LiveModel,
    LiveState,
)
from tests.support.waiting import wait_until
from tests.unit.live.registries import (
    REFERENCE,
    MemoryRegistry,
    Model,
    Speechless,
    last_state,
    wait_for_text,
)


def test_with_the_registry_down_a_start_takes_what_served_last(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    registry.move(2)
    wait_for_text(live, "two")
    wait_until(lambda: live.status().state is LiveState.SERVING, "nothing drains")
    live.close()
    registry.down = True
    with LiveModel(REFERENCE, loader=Model) as again:
        assert again.current.predict() == "two"
        assert not again.status().connected
        registry.move(3)
        registry.come_back()
        wait_for_text(again, "three")


def test_a_start_on_a_broken_target_takes_what_served_last(registry: MemoryRegistry) -> None:
    LiveModel(REFERENCE, loader=Model).start().close()
    registry.move(registry.add("broken"))
    with LiveModel(REFERENCE, loader=Model) as again:
        assert again.current.predict() == "one"
        failure = again.status().failure
        assert failure is not None
        assert failure.resolution.version == 2


def test_a_first_model_that_does_not_load_is_an_error_with_its_cause(
    registry: MemoryRegistry,
) -> None:
    registry.move(registry.add("broken"))
    live = LiveModel(REFERENCE, loader=Model)
    with pytest.raises(FirstLoadFailed, match="broken does not load") as caught:
        live.start()
    assert isinstance(caught.value.__cause__, ValueError)
    assert registry.closed.is_set()
    assert last_state(registry) is ReplicaState.FAILED


def test_a_reference_that_names_nothing_is_an_error(registry: MemoryRegistry) -> None:
    registry.move(None)
    with pytest.raises(FirstLoadFailed, match="ALIAS_NOT_FOUND") as caught:
        LiveModel(REFERENCE, loader=Model).start()
    assert isinstance(caught.value.__cause__, AliasNotFound)


def test_a_registry_that_refuses_is_an_error_with_its_cause(registry: MemoryRegistry) -> None:
    registry.refusal = Unauthenticated("A token is needed.")
    with pytest.raises(FirstLoadFailed, match="token") as caught:
        LiveModel(REFERENCE, loader=Model).start()
    assert caught.value.__cause__ is registry.refusal


def test_a_registry_that_refuses_for_a_while_is_asked_again(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    LiveModel(REFERENCE, loader=Model).start().close()
    monkeypatch.setattr("herdbook.live.follower._REFUSED_SECONDS", 0.01)
    registry.refusal = Unauthenticated("A token is needed.")
    registry.move(registry.add("two"))
    with LiveModel(REFERENCE, loader=Model) as again:
        assert again.current.predict() == "one"
        assert again.status().outage_reason == "A token is needed."
        registry.refusal = None
        wait_for_text(again, "two")


def test_a_start_without_registry_and_cache_ends_in_time_and_says_why(
    registry: MemoryRegistry,
) -> None:
    registry.down = True
    with pytest.raises(FirstLoadFailed, match=r"within 0\.3 s: The registry is down") as caught:
        LiveModel(REFERENCE, loader=Model, timeout_seconds=0.3).start()
    assert isinstance(caught.value.__cause__, Unavailable)


def test_a_start_that_hangs_in_its_loader_ends_in_time_and_drops_the_late_model(
    registry: MemoryRegistry,
) -> None:
    go_on = threading.Event()

    def loader(path: Path) -> Model:
        assert go_on.wait(30)
        return Model(path)

    live = LiveModel(REFERENCE, loader=loader, timeout_seconds=0.2, drain_timeout_seconds=0.1)
    with pytest.raises(FirstLoadFailed, match="still loading"):
        live.start()
    go_on.set()
    wait_until(lambda: Model.made and Model.made[0].close_count == 1, "the late model is closed")


def test_a_version_without_files_in_the_registry_says_so(registry: MemoryRegistry) -> None:
    source = registry.sources[0]
    source.digest = None  # type: ignore[assignment]
    with pytest.raises(FirstLoadFailed, match="does not hold the files"):
        LiveModel(REFERENCE, loader=Model).start()


def test_a_first_error_that_cannot_be_written_ends_the_start(registry: MemoryRegistry) -> None:
    def load(_: Path) -> Model:
        raise Speechless

    with pytest.raises(FirstLoadFailed, match="its message raised RuntimeError"):
        LiveModel(REFERENCE, loader=load).start()


def test_starts_at_once_make_one_live_model_and_all_wait_for_it(registry: MemoryRegistry) -> None:
    go_on = threading.Event()

    def loader(path: Path) -> Model:
        assert go_on.wait(30)
        return Model(path)

    live = LiveModel(REFERENCE, loader=loader)
    started: list[str] = []

    def start() -> None:
        live.start()
        started.append(live.current.predict())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert registry.downloading.wait(30)
    assert not started
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert started == ["one"] * 8
    live.close()
    assert [model.close_count for model in Model.made] == [1]
    assert len(registry.replicas) == 1


def test_a_start_ends_when_the_live_model_is_closed(registry: MemoryRegistry) -> None:
    registry.move(None)
    registry.break_down()
    live = LiveModel(REFERENCE, loader=Model)
    failures: list[BaseException] = []

    def start() -> None:
        try:
            live.start()
        except ClientClosed as failure:
            failures.append(failure)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(lambda: registry.replicas, "it watches")
    live.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(failures) == 1
