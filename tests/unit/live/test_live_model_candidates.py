from __future__ import annotations

import gc
import logging
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from herdbook.core.values import ReplicaState
from herdbook.errors import Cancelled
from herdbook.live import (
    FirstLoadFailed,
    LiveModel,
    LiveState,
    LiveStatus,
    ValidationFailed,
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


def test_a_candidate_is_warmed_up_and_validated_before_it_serves(
    registry: MemoryRegistry,
) -> None:
    order: list[str] = []
    with LiveModel(
        REFERENCE,
        loader=lambda path: order.append("load") or Model(path),
        warmup=lambda model: order.append(f"warm up {model.text}"),
        validate=lambda model: order.append(f"validate {model.text}"),
    ):
        assert order == ["load", "warm up one", "validate one"]


@pytest.mark.parametrize("step", ["loader", "warmup", "validate", "validate False"])
def test_a_failing_candidate_is_reported_with_its_reason_and_the_model_stays(
    registry: MemoryRegistry, step: str
) -> None:
    registry.add("two")

    def fails(name: str) -> bool:
        return step == name and len(Model.made) + (name == "loader") > 1

    def loader(path: Path) -> Model:
        if fails("loader"):
            raise RuntimeError("no such layer")
        return Model(path)

    def warmup(_: Model) -> None:
        if fails("warmup"):
            raise RuntimeError("no such layer")

    def validate(_: Model) -> bool:
        if fails("validate"):
            raise RuntimeError("no such layer")
        return not (step == "validate False" and len(Model.made) > 1)

    with LiveModel(REFERENCE, loader=loader, warmup=warmup, validate=validate) as live:
        registry.move(2)
        wait_until(lambda: live.status().state is LiveState.FAILED, "the candidate has failed")
        failure = live.status().failure
        assert failure is not None
        assert failure.resolution.version == 2
        assert failure.retry_in_seconds > 0
        wait_until(lambda: last_state(registry) is ReplicaState.FAILED, "the failure is reported")
        report = registry.reports[-1]
        assert (report.version, report.serving_version) == (2, 1)
        assert report.failure == failure.reason
        if step == "validate False":
            assert isinstance(failure.error, ValidationFailed)
        else:
            assert "no such layer" in report.failure
        assert live.current.predict() == "one"
        assert [model.close_count for model in Model.made[1:]] == [1] * (len(Model.made) - 1)


def test_a_candidate_that_was_turned_down_does_not_stay_in_memory(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")

    def validate(model: Model) -> None:
        if model.text == "two":
            raise RuntimeError("worse than before")

    with LiveModel(REFERENCE, loader=Model, validate=validate) as live:
        registry.move(2)
        wait_until(lambda: live.status().state is LiveState.FAILED, "the candidate has failed")
        rejected = weakref.ref(Model.made[1])
        Model.made.clear()
        gc.collect()
        assert rejected() is None


def test_a_failed_candidate_is_tried_again_after_a_while(registry: MemoryRegistry) -> None:
    registry.add("two")
    attempts: list[str] = []

    def loader(path: Path) -> Model:
        model = Model(path)
        attempts.append(model.text)
        if attempts.count("two") in {1, 2}:
            raise RuntimeError("out of memory")
        return model

    with LiveModel(REFERENCE, loader=loader, retry_seconds=0.01) as live:
        registry.move(2)
        wait_for_text(live, "two")
        assert live.status().failure is None
        assert live.status().failure_count == 2


def test_a_failed_candidate_is_logged_with_what_serves(
    registry: MemoryRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with LiveModel(REFERENCE, loader=Model, retry_seconds=0.01) as live:
        registry.move(registry.add("broken"))
        wait_until(lambda: live.status().failure_count > 1, "it has failed again")
    first, second, *_ = caplog.records
    assert re.fullmatch(
        r"fraud/tc:2 does not serve for fraud/tc@champion, as its load failed: \w+: .*\. "
        r"fraud/tc:1 goes on serving\.",
        first.getMessage(),
    )
    assert first.exc_info is not None
    assert second.exc_info is None


def test_a_first_model_that_fails_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture, registry: MemoryRegistry
) -> None:
    registry.move(registry.add("broken"))
    with pytest.raises(FirstLoadFailed):
        LiveModel(REFERENCE, loader=Model).start()
    (record,) = caplog.records
    assert record.getMessage().endswith("its load failed: ValueError: broken does not load.")
    assert record.exc_info is not None


def test_a_candidate_that_is_overtaken_and_fails_is_logged(
    registry: MemoryRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    overtaken = threading.Event()

    def load(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            overtaken.wait(10)
            raise RuntimeError("too late")
        return model

    with LiveModel(REFERENCE, loader=load) as live:
        registry.move(registry.add("two"))
        wait_until(lambda: live.status().state is LiveState.LOADING, "the candidate loads")
        registry.move(registry.add("three"))
        wait_until(lambda: live.status().target == registry.resolution(3), "it is overtaken")
        overtaken.set()
        wait_for_text(live, "three")
    assert ["too late" in message for message in caplog.messages] == [True]


def test_what_handles_the_log_may_ask_for_the_status(registry: MemoryRegistry) -> None:
    heard: list[LiveState] = []
    with (
        LiveModel(REFERENCE, loader=Model) as live,
        handling(lambda: heard.append(live.status().state)),
    ):
        registry.move(registry.add("broken"))
        wait_until(lambda: bool(heard), "the failure is logged")
    assert heard[0] is LiveState.FAILED


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_what_handles_the_log_may_raise(
    registry: MemoryRegistry, error: type[BaseException]
) -> None:
    def complain() -> None:
        raise error("the disk is full")

    with handling(complain), LiveModel(REFERENCE, loader=Model) as live:
        registry.move(registry.add("broken"))
        wait_until(lambda: live.status().state is LiveState.FAILED, "the candidate has failed")
        registry.move(registry.add("sound"))
        wait_for_text(live, "sound")


def test_what_handles_the_log_of_an_outage_may_raise(registry: MemoryRegistry) -> None:
    def complain() -> None:
        raise RuntimeError("the disk is full")

    with handling(complain), LiveModel(REFERENCE, loader=Model) as live:
        registry.break_down()
        wait_until(lambda: not live.status().connected, "it has noticed")
        registry.come_back()
        registry.move(registry.add("sound"))
        wait_for_text(live, "sound")


def test_the_end_of_an_outage_and_a_swap_are_logged(
    registry: MemoryRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), LiveModel(REFERENCE, loader=Model) as live:
        registry.break_down()
        wait_until(lambda: not live.status().connected, "it has noticed")
        registry.come_back()
        registry.move(registry.add("sound"))
        wait_for_text(live, "sound")
    assert "fraud/tc@champion is watched now." in caplog.messages
    assert "fraud/tc:2 serves for fraud/tc@champion." in caplog.messages


def test_a_reference_that_names_nothing_any_more_is_logged(
    registry: MemoryRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with LiveModel(REFERENCE, loader=Model) as live:
        registry.move(None)
        wait_until(lambda: live.status().state is LiveState.MISSING, "it has noticed")
        assert live.current.text == "one"
    assert caplog.messages == ["fraud/tc@champion names no version (ALIAS_NOT_FOUND)."]


def test_a_loader_that_is_cancelled_by_itself_is_logged(
    registry: MemoryRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    def load(path: Path) -> Model:
        if Model(path).text == "two":
            raise Cancelled("a download of its own")
        return Model(path)

    with LiveModel(REFERENCE, loader=load) as live:
        registry.move(registry.add("two"))
        wait_until(lambda: live.status().state is LiveState.FAILED, "the candidate has failed")
    assert "a download of its own" in caplog.text


@contextmanager
def handling(react: Callable[[], object]) -> Iterator[None]:
    """Have something done for each record that live models log."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            react()

    logger, handler = logging.getLogger("herdbook.live"), Handler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def test_a_failed_candidate_gives_way_when_the_alias_moves(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    registry.move(registry.add("broken"))
    wait_until(lambda: live.status().state is LiveState.FAILED, "the candidate has failed")
    registry.move(2)
    wait_for_text(live, "two")
    assert live.status().failure is None


def test_an_alias_that_moves_during_a_load_ends_at_its_newest_target(
    registry: MemoryRegistry,
) -> None:
    registry.add("two")
    registry.add("three")
    loading, go_on = threading.Event(), threading.Event()

    def loader(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            loading.set()
            assert go_on.wait(30)
        return model

    with LiveModel(REFERENCE, loader=loader) as live:
        registry.move(2)
        assert loading.wait(30)
        registry.move(3)
        wait_until(lambda: live.status().target == registry.resolution(3), "the move is heard")
        go_on.set()
        wait_for_text(live, "three")
        assert live.status().swap_count == 2
        dropped = next(model for model in Model.made if model.text == "two")
        wait_until(lambda: dropped.close_count == 1, "the stale candidate is closed")


def test_an_alias_that_moves_during_a_fetch_does_not_wait_for_it(
    live: LiveModel[Model], registry: MemoryRegistry
) -> None:
    registry.sources[1].gate.clear()
    registry.downloading.clear()
    registry.move(2)
    assert registry.downloading.wait(30)
    registry.move(3)
    wait_for_text(live, "three")


def test_changes_are_told_in_order_and_what_a_listener_raises_disturbs_nobody(
    registry: MemoryRegistry,
) -> None:
    heard: list[LiveStatus] = []

    def listen(status: LiveStatus) -> None:
        heard.append(status)
        raise RuntimeError("listener")

    registry.add("two")
    with LiveModel(REFERENCE, loader=Model, on_change=listen) as live:
        registry.move(2)
        wait_for_text(live, "two")
    states = [status.state for status in heard]
    served = [status.serving.version for status in heard if status.serving]
    assert states.index(LiveState.DOWNLOADING) < states.index(LiveState.LOADING)
    assert served == sorted(served)
    assert served[-1] == 2


def test_a_step_is_told_before_it_is_taken(registry: MemoryRegistry) -> None:
    story: list[str] = []

    def load(path: Path) -> Model:
        story.append("load")
        return Model(path)

    def listen(status: LiveStatus) -> None:
        story.append(status.state)
        if status.state is LiveState.DOWNLOADING and registry.downloading.is_set():
            story.append("too late")

    with LiveModel(REFERENCE, loader=load, on_change=listen) as live:
        wait_until(lambda: live.status().connected and "serving" in story, "it serves")
    assert story[:4] == ["downloading", "loading", "load", "serving"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no file \udcff"), r"ValueError: no file \udcff"),
        (Speechless(), "Speechless: (its message raised RuntimeError)"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=["no-text", "speechless", "exit"],
)
def test_no_error_of_a_loader_ends_the_watch(
    registry: MemoryRegistry,
    error: BaseException,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # What is no text cannot be sent to the process that reports on tests.
    caplog.set_level(logging.CRITICAL + 1, "herdbook")

    def load(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            raise error
        return model

    with LiveModel(REFERENCE, loader=load) as live:
        registry.move(registry.add("two"))
        wait_until(lambda: live.status().failure is not None, "the candidate has failed")
        wait_until(lambda: last_state(registry) is ReplicaState.FAILED, "the registry knows")
        assert words in registry.reports[-1].failure
        registry.move(registry.add("three"))
        wait_for_text(live, "three")


def test_a_listener_that_ends_its_thread_does_not_end_the_watch(registry: MemoryRegistry) -> None:
    def listen(_: LiveStatus) -> None:
        raise SystemExit(1)

    with LiveModel(REFERENCE, loader=Model, on_change=listen) as live:
        registry.move(registry.add("two"))
        wait_for_text(live, "two")


def test_whatever_closing_a_discarded_candidate_raises_the_next_move_is_followed(
    registry: MemoryRegistry,
) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def loader(path: Path) -> Model:
        model = Model(path)
        if model.text == "two":
            loading.set()
            assert go_on.wait(30)
        return model

    def close(model: Model) -> None:
        model.close()
        if model.text == "two":
            raise SystemExit("closing exits")

    numbers = [registry.add(text) for text in ("two", "three", "four")]
    with LiveModel(REFERENCE, loader=loader, close=close) as live:
        registry.move(numbers[0])
        assert loading.wait(30)
        registry.move(numbers[1])
        go_on.set()
        wait_for_text(live, "three")
        registry.move(numbers[2])
        wait_for_text(live, "four")
    assert [model.close_count for model in Model.made] == [1, 1, 1, 1]


def test_changes_that_nobody_takes_are_not_kept_up(registry: MemoryRegistry) -> None:
    registry.add("two")
    told: list[LiveStatus] = []
    hanging, go_on = threading.Event(), threading.Event()

    def on_change(status: LiveStatus) -> None:
        told.append(status)
        if status.serving and status.serving.version == 1:
            hanging.set()
            assert go_on.wait(30)

    with LiveModel(REFERENCE, loader=Model, on_change=on_change) as live:
        assert hanging.wait(30)
        for number in range(200):
            registry.move(1 + number % 2)
        registry.move(2)
        target = lambda: live.status().target  # noqa: E731
        wait_until(lambda: target() and target().version == 2, "the last move is known")
        assert live._engine is not None
        assert live._engine._jobs.qsize() < 10
        before = len(told)
        go_on.set()
        wait_for_text(live, "two")
        wait_until(
            lambda: told[-1].serving and told[-1].state is LiveState.SERVING, "the end is told"
        )
        assert len(told) - before < 20
