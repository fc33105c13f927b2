from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import pytest

from herdbook.core.values import ReplicaReport, ReplicaState
from herdbook.errors import (
    ClientClosed,
    FieldInvalid,
    ReferenceInvalid,
)
from herdbook.live import (
    LeasesHeld,
    LiveModel,
    LiveState,
    NotServing,
)
from tests.support.waiting import wait_until
from tests.unit.live.registries import (
    REFERENCE,
    MemoryRegistry,
    Model,
    last_state,
    wait_for_text,
)


def test_a_start_returns_with_a_first_model_that_serves(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    assert live.current.predict() == "one"
    assert live.version == 1
    status = live.status()
    assert status.state is LiveState.SERVING
    assert status.serving == status.target == registry.resolution(1)
    assert (status.swap_count, status.failure_count) == (1, 0)
    wait_until(lambda: live.status().connected, "the registry has spoken")
    age = live.status().contact_age_seconds
    assert age is not None
    assert age >= 0


def test_reports_name_the_replica_and_what_it_serves(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    wait_until(lambda: last_state(registry) is ReplicaState.SERVING, "serving is reported")
    report = registry.reports[-1]
    assert report.reference == live.reference
    assert (report.version, report.serving_version) == (1, 1)
    assert report.serving_digest == registry.resolution(1).digest
    assert report.replica == registry.replicas[0]
    assert report.replica.id
    assert report.replica.host


def test_a_replica_that_is_closed_takes_leave(registry: MemoryRegistry) -> None:
    with LiveModel(REFERENCE, loader=Model) as live:
        wait_until(lambda: live.status().connected, "the registry has spoken")
    assert last_state(registry) is ReplicaState.STOPPED
    assert registry.reports[-1].serving_version is None


def test_a_replica_takes_leave_when_its_watch_is_ended(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    report = registry.report

    def note(said: ReplicaReport) -> None:
        if said.state is ReplicaState.STOPPED:
            ended.extend(watch.cancelled for watch in registry.watches)
        report(said)

    monkeypatch.setattr(registry, "report", note)
    with LiveModel(REFERENCE, loader=Model) as live:
        wait_until(lambda: live.status().connected, "the registry has spoken")
    assert ended == [True]


def test_a_replica_that_cannot_reach_the_registry_takes_no_leave(registry: MemoryRegistry) -> None:
    with LiveModel(REFERENCE, loader=Model) as live:
        wait_until(lambda: live.status().connected, "the registry has spoken")
        registry.break_down()
        wait_until(lambda: not live.status().connected, "the outage is noticed")
    assert last_state(registry) is not ReplicaState.STOPPED


def test_a_replica_has_the_name_its_operator_gives(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERDBOOK_REPLICA_NAME", "pod-7")
    with LiveModel(REFERENCE, loader=Model):
        assert registry.replicas[-1].name == "pod-7"


def test_a_moved_alias_swaps_the_model_and_closes_the_one_before(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    first = weakref.ref(live.current)
    registry.move(2)
    wait_for_text(live, "two")
    assert live.version == 2
    wait_until(lambda: Model.made[0].close_count == 1, "the first model is closed")
    Model.made.clear()
    gc.collect()
    assert first() is None


def test_a_leased_model_is_closed_only_after_its_lease(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    lease = live.lease()
    with lease as model:
        assert lease.version == 1
        registry.move(2)
        wait_for_text(live, "two")
        assert live.status().state is LiveState.DRAINING
        assert model.predict() == "one"
        del model
    wait_until(lambda: Model.made[0].close_count == 1, "the first model is closed")
    wait_until(lambda: live.status().state is LiveState.SERVING, "nothing drains")


def test_a_lease_is_used_once(live: LiveModel[Model], registry: MemoryRegistry) -> None:
    lease = live.lease()
    with lease, pytest.raises(RuntimeError, match="used once"):
        lease.__enter__()
    lease.__exit__(None, None, None)
    assert live.status().leases == 0
    with pytest.raises(RuntimeError, match="used once"):
        lease.__enter__()
    registry.move(2)
    wait_until(lambda: Model.made[0].close_count == 1, "the first model is closed")


def test_a_model_that_somebody_has_just_read_is_not_closed_under_them(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    model = live.current
    registry.move(2)
    wait_for_text(live, "two")
    assert model.predict() == "one"
    assert live.status().state is LiveState.DRAINING
    del model
    wait_until(lambda: Model.made[0].close_count == 1, "the first model is closed")


def test_a_model_that_stays_in_some_variable_does_not_hold_up_the_next_swap_or_the_end(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    model = live.current
    registry.move(2)
    wait_for_text(live, "two")
    registry.move(3)
    wait_for_text(live, "three")
    assert model.predict() == "one"
    live.close()
    assert model.close_count == 1


def test_leases_beyond_the_drain_limit_do_not_stop_later_swaps(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    registry.add("three")
    with LiveModel(REFERENCE, loader=Model, drain_timeout_seconds=0.05) as live:
        with live.lease() as model:
            registry.move(2)
            wait_for_text(live, "two")
            registry.move(3)
            wait_for_text(live, "three")
            assert model.predict() == "one"
        wait_until(lambda: Model.made[0].close_count == 1, "the last lease lets it close")


def test_a_given_close_is_called_instead_of_the_models_own(registry: MemoryRegistry) -> None:
    closed: list[str] = []
    with LiveModel(REFERENCE, loader=Model, close=lambda model: closed.append(model.text)):
        pass
    assert closed == ["one"]
    assert Model.made[0].close_count == 0


def test_a_model_that_does_not_close_well_disturbs_nobody(registry: MemoryRegistry) -> None:
    registry.add("two")

    def close(_: Model) -> None:
        raise OSError("device busy")

    with LiveModel(REFERENCE, loader=Model, close=close) as live:
        registry.move(2)
        wait_for_text(live, "two")


def test_a_deleted_alias_leaves_the_model_serving_and_shows_in_the_status(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    registry.move(None)
    wait_until(lambda: live.status().state is LiveState.MISSING, "the alias is gone")
    assert live.status().missing_reason == "ALIAS_NOT_FOUND"
    assert live.status().target is None
    assert live.current.predict() == "one"
    registry.move(2)
    wait_for_text(live, "two")


def test_an_outage_leaves_the_model_serving_and_ends_where_the_alias_is(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    registry.break_down()
    wait_until(lambda: not live.status().connected, "the outage shows")
    assert live.status().outage_reason == "The registry is down."
    assert live.current.predict() == "one"
    registry.come_back()
    wait_until(lambda: live.status().connected, "the outage is over")
    registry.move(2)
    wait_for_text(live, "two")


def test_after_an_outage_the_last_report_is_repeated(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    wait_until(lambda: last_state(registry) is ReplicaState.SERVING, "serving is reported")
    wait_until(lambda: live.status().connected, "the registry has spoken")
    registry.break_down()
    registry.reports.clear()
    registry.come_back()
    wait_until(lambda: last_state(registry) is ReplicaState.SERVING, "serving is reported again")


def test_unload_first_closes_the_old_model_before_the_new_one_is_loaded(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    loaded_at_once: list[int] = []

    def loader(path: Path) -> Model:
        loaded_at_once.append(sum(model.close_count == 0 for model in Model.made))
        return Model(path)

    with LiveModel(REFERENCE, loader=loader, swap="unload-first") as live:
        registry.move(2)
        wait_until(lambda: live.version == 2, "version 2 serves")
        assert loaded_at_once == [0, 0]


def test_unload_first_makes_leases_wait_and_reads_of_current_say_so(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    loading, go_on = threading.Event(), threading.Event()

    def loader(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            loading.set()
            assert go_on.wait(30)
        return model

    with LiveModel(REFERENCE, loader=loader, swap="unload-first") as live:
        registry.move(2)
        assert loading.wait(30)
        with pytest.raises(NotServing, match="serves at this moment"):
            _ = live.current
        with pytest.raises(NotServing), live.lease(timeout_seconds=0):
            pass
        threading.Timer(0.05, go_on.set).start()
        with live.lease() as model:
            assert model.predict() == "two"


def test_unload_first_falls_back_to_the_old_version_from_the_cache(
    registry: MemoryRegistry,
) -> None:
    with LiveModel(REFERENCE, loader=Model, swap="unload-first") as live:
        registry.move(registry.add("broken"))
        wait_until(lambda: live.status().failure_count == 1, "the candidate has failed")
        with live.lease() as model:
            assert model.predict() == "one"
        wait_until(lambda: live.status().state is LiveState.FAILED, "the failure shows")
        assert live.status().serving == registry.resolution(1)
        assert registry.sources[0].manifest_count == 1


def test_unload_first_keeps_a_model_whose_leases_do_not_end(registry: MemoryRegistry) -> None:
    registry.add("two")
    with LiveModel(
        REFERENCE,
        loader=Model,
        swap="unload-first",
        drain_timeout_seconds=0.05,
        retry_seconds=0.05,
    ) as live:
        with live.lease() as model:
            registry.move(2)
            wait_until(lambda: live.status().failure_count > 0, "the swap was given up")
            failure = live.status().failure
            assert failure is not None
            assert isinstance(failure.error, LeasesHeld)
            assert model.predict() == "one"
            del model
        wait_until(lambda: live.version == 2, "version 2 serves")


def test_a_small_cache_keeps_what_serves_and_lets_go_of_what_did(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    versions = tmp_path / "cache" / "versions"
    with LiveModel(REFERENCE, loader=Model, cache_max_bytes=0) as live:
        for text in ("two", "three", "four"):
            registry.move(registry.add(text))
            wait_for_text(live, text)
            wait_until(lambda: live.status().state is LiveState.SERVING, "nothing drains")
        kept = {f"sha256:{path.name}" for path in versions.iterdir()}
        assert live.resolution is not None
        assert live.resolution.digest in kept
        assert registry.sources[0].digest not in kept
        assert len(kept) <= 2


def test_closing_ends_every_thread(registry: MemoryRegistry) -> None:
    before = set(threading.enumerate())
    with LiveModel(REFERENCE, loader=Model) as live:
        registry.move(registry.add("two"))
        wait_for_text(live, "two")
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) <= before


def test_a_closed_live_model_says_so(live: LiveModel[Model]) -> None:
    live.close()
    live.close()
    assert Model.made[0].close_count == 1
    assert live.status().state is LiveState.CLOSED
    assert live.version is None
    with pytest.raises(NotServing, match="closed"):
        _ = live.current
    with pytest.raises(NotServing, match="closed"), live.lease():
        pass
    with pytest.raises(ClientClosed):
        live.start()


def test_closing_waits_for_leases_and_leaves_the_rest_to_the_last_one(
    registry: MemoryRegistry,
) -> None:
    live = LiveModel(REFERENCE, loader=Model, drain_timeout_seconds=0.05).start()
    with live.lease() as model:
        live.close()
        assert model.predict() == "one"
    assert Model.made[0].close_count == 1


def test_a_live_model_that_was_not_started_says_so(registry: MemoryRegistry) -> None:
    live = LiveModel(REFERENCE, loader=Model)
    with pytest.raises(NotServing, match="not been started"):
        _ = live.current
    with pytest.raises(NotServing, match="not been started"):
        live.status()
    assert live.version is None
    live.close()
    with pytest.raises(AttributeError):
        live.curent  # type: ignore[attr-defined]  # noqa: B018 - a slip of the pen


def test_a_started_live_model_starts_once(live: LiveModel[Model], registry: MemoryRegistry) -> None:
    assert live.start() is live
    assert len(registry.replicas) == 1


def test_arguments_that_make_no_sense_are_refused_at_once() -> None:
    with pytest.raises(ReferenceInvalid):
        LiveModel("no reference!", loader=Model)
    with pytest.raises(FieldInvalid, match="swap"):
        LiveModel(REFERENCE, loader=Model, swap="both")  # type: ignore[arg-type]
    with pytest.raises(FieldInvalid, match="timeout_seconds"):
        LiveModel(REFERENCE, loader=Model, timeout_seconds=-1)
    with pytest.raises(FieldInvalid, match="HOST:PORT"):
        LiveModel(REFERENCE, loader=Model, server="http://localhost:7411")
    with pytest.raises(FieldInvalid, match="-1 bytes"):
        LiveModel(REFERENCE, loader=Model, cache_max_bytes=-1)


def test_an_async_loader_is_sent_to_the_other_live_model(registry: MemoryRegistry) -> None:
    async def load(path: Path) -> Model:
        return Model(path)

    with pytest.raises(FieldInvalid, match="AsyncLiveModel"):
        LiveModel(REFERENCE, loader=load).start()
    assert not registry.replicas


def test_current_is_a_slot_and_nothing_more() -> None:
    assert type(LiveModel.__dict__.get("current", LiveModel.current)).__name__ == (
        "member_descriptor"
    )
