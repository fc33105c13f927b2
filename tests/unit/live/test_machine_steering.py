"""What somebody may tell a live model: another version, nothing new, or try again."""

from __future__ import annotations

from herdbook.core.values.fleet import ReplicaState
from herdbook.live.machine import REMEMBERED_SECONDS
from herdbook.live.messages import (
    CancelFetch,
    Contact,
    Discard,
    Done,
    Fetch,
    Load,
    Named,
    Pause,
    Pin,
    Refresh,
    Retire,
    Swap,
    Tick,
    Unload,
)
from tests.unit.live.test_machine import DOWN, V1, V2, V3, Drive, failed


def test_a_pinned_version_serves_whatever_the_reference_names() -> None:
    drive = Drive().serving(V1)
    assert drive(Pin(V3)) == [Fetch(V3)]
    assert drive(Done()) == [Load(V3)]
    assert drive(Done()) == [Swap(V3), Retire()]
    drive(Done())
    assert drive(Named(V2)) == []
    assert drive(Pin(None)) == [Fetch(V2)]


def test_a_pinned_version_is_not_what_the_next_start_takes() -> None:
    drive = Drive().serving(V1)
    drive(Pin(V3), Done(), Done(), Done())
    assert drive.machine.serving == V3
    assert drive.remembered == [V1]
    drive(Named(V3))
    assert drive.remembered == [V1, V3]


def test_what_was_pinned_and_is_named_later_is_what_the_next_start_takes() -> None:
    drive = Drive().serving(V1)
    drive(Pin(V3), Done(), Done(), Done())
    drive(Named(V2))
    drive(Pin(None))
    assert drive(Named(V3)) == [CancelFetch()]
    assert drive.remembered == [V1, V3]


def test_a_pinned_version_that_the_reference_names_is_what_the_next_start_takes() -> None:
    drive = Drive().serving(V1)
    drive(Pin(V2), Named(V2), Done(), Done(), Done())
    assert drive.remembered == [V1, V2]


def test_what_goes_on_serving_is_recorded_again_now_and_then() -> None:
    drive = Drive().serving(V1)
    drive(Contact(), after_seconds=REMEMBERED_SECONDS / 2)
    assert drive.remembered == [V1]
    drive(Contact(), after_seconds=REMEMBERED_SECONDS / 2)
    drive(Contact())
    assert drive.remembered == [V1, V1]


def test_a_pin_ends_the_way_of_the_candidate() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2))
    assert drive(Pin(V1)) == [CancelFetch()]
    assert drive(failed()) == []
    assert drive.machine.failure is None


def test_a_pinned_version_that_fails_leaves_the_model_and_is_reported() -> None:
    drive = Drive().serving(V1)
    drive(Pin(V3), failed())
    assert drive.machine.serving == V1
    assert drive.reports[-1].state is ReplicaState.FAILED
    assert drive.reports[-1].version == 3
    assert drive(Pin(None)) == []
    assert drive.reports[-1].state is ReplicaState.SERVING


def test_a_missing_reference_does_not_move_a_pinned_version() -> None:
    drive = Drive(good=V1)
    drive(Named(None, "ALIAS_NOT_FOUND"))
    drive = Drive().serving(V1)
    drive(Pin(V3), Done(), Done(), Done())
    assert drive(Named(None, "ALIAS_NOT_FOUND")) == []
    assert drive.machine.serving == V3


def test_nothing_is_begun_while_it_pauses() -> None:
    drive = Drive().serving(V1)
    drive(Pause(paused=True))
    assert drive(Named(V2)) == []
    assert drive.machine.wake_at() is None
    assert drive(Tick(), after_seconds=10_000) == []
    assert drive(Pause(paused=False)) == [Fetch(V2)]


def test_a_pause_ends_the_way_of_the_candidate() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done())
    assert drive(Pause(paused=True)) == []
    assert drive(Done()) == [Discard()]
    assert drive.machine.serving == V1


def test_a_pause_leaves_nobody_without_a_model() -> None:
    assert Drive()(Pause(paused=True), Named(V1)) == [Fetch(V1)]
    drive = Drive(swap="unload-first").serving(V1)
    assert drive(Named(V2), Done()) == [Unload()]
    assert drive(Pause(paused=True), Done()) == [Load(V2)]


def test_a_failure_that_is_due_does_not_wake_who_pauses() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), failed(DOWN, transient=True))
    assert drive.machine.wake_at() is not None
    drive(Pause(paused=True))
    assert drive.machine.wake_at() is None


def test_a_refresh_tries_what_failed_at_once() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), failed())
    assert drive(Tick()) == []
    assert drive(Refresh()) == [Fetch(V2)]


def test_a_refresh_tries_again_what_interrupts() -> None:
    drive = Drive(swap="unload-first").serving(V1)
    drive(Named(V2), Done(), Done(), failed())
    drive(Done(), Done())
    assert drive.machine.serving == V1
    assert drive(Tick(), after_seconds=10_000) == []
    assert drive(Refresh()) == [Fetch(V2)]
