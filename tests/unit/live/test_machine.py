from __future__ import annotations

import pytest

from herdbook.core.retrying import Backoff
from herdbook.core.values.fleet import ReplicaState
from herdbook.core.values.registry import Resolution
from herdbook.live.machine import LiveMachine, LivePolicy, SwapMode
from herdbook.live.messages import (
    CancelFetch,
    Close,
    Command,
    Contact,
    Discard,
    Done,
    Failed,
    Fetch,
    GiveUp,
    Input,
    Load,
    Lost,
    Named,
    Remember,
    Report,
    Retire,
    Swap,
    Tick,
    Unload,
)

BROKEN = ValueError("no such layer")
DOWN = ConnectionError("refused")


def version(number: int) -> Resolution:
    return Resolution("fraud/tc", number, f"sha256:{number:064x}")


V1, V2, V3 = version(1), version(2), version(3)
POLICY = LivePolicy(transient=Backoff(1, 60), lasting=Backoff(30, 900), offline_after_seconds=5)


class Drive:
    """A machine, the time, and the commands of the last input but what is told or recorded."""

    def __init__(self, *, swap: SwapMode = "load-first", good: Resolution | None = None) -> None:
        self.now = 100.0
        policy = LivePolicy(swap, POLICY.transient, POLICY.lasting, POLICY.offline_after_seconds)
        self.machine = LiveMachine(policy, now=self.now, good=good)
        self.reports: list[Report] = []
        self.remembered: list[Resolution] = []

    def __call__(self, *events: Input, after_seconds: float = 0.0) -> list[Command]:
        self.now += after_seconds
        commands: list[Command] = []
        for event in events:
            commands = self.machine.handle(event, now=self.now)
            self.reports += [c for c in commands if isinstance(c, Report)]
            self.remembered += [c.resolution for c in commands if isinstance(c, Remember)]
        return [c for c in commands if not isinstance(c, Report | Remember)]

    def serving(self, resolution: Resolution) -> Drive:
        self(Named(resolution), Done(), Done())
        if self.machine.work is not None:
            self(Done())
        assert self.machine.serving == resolution
        return self


def failed(error: BaseException = BROKEN, *, transient: bool = False) -> Failed:
    return Failed(error, transient)


def test_the_first_version_is_fetched_loaded_and_swapped_in() -> None:
    drive = Drive()
    assert drive(Named(V1)) == [Fetch(V1)]
    assert drive(Done()) == [Load(V1)]
    assert drive(Done()) == [Swap(V1)]
    assert drive.machine.serving == V1
    assert [report.state for report in drive.reports] == [
        ReplicaState.DOWNLOADING,
        ReplicaState.LOADING,
        ReplicaState.SERVING,
    ]


def test_a_moved_alias_loads_beside_and_retires_the_replaced_model() -> None:
    drive = Drive().serving(V1)
    assert drive(Named(V2)) == [Fetch(V2)]
    assert drive(Done()) == [Load(V2)]
    assert drive.machine.serving == V1
    assert drive(Done()) == [Swap(V2), Retire()]
    assert drive(Done()) == []
    assert drive.reports[-1] == Report(ReplicaState.SERVING, 2, V2, "")


def test_hearing_the_same_version_again_does_nothing() -> None:
    drive = Drive().serving(V1)
    reports = len(drive.reports)
    assert drive(Named(V1), Contact(), Tick()) == []
    assert len(drive.reports) == reports


def test_a_newer_target_cancels_the_fetch_under_way_and_wins() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2))
    assert drive(Named(V3)) == [CancelFetch()]
    assert drive(Named(V3)) == []
    assert drive(failed(), after_seconds=1) == [Fetch(V3)]
    assert drive.machine.failure_count == 0


def test_a_candidate_that_went_stale_while_loading_is_dropped() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done())
    assert drive(Named(V3)) == []
    assert drive(Done()) == [Discard(), Fetch(V3)]
    assert drive.machine.serving == V1


def test_an_alias_that_moves_back_while_loading_leaves_the_model_in_place() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done(), Named(V1))
    assert drive(Done()) == [Discard()]
    assert drive.reports[-1] == Report(ReplicaState.SERVING, 1, V1, "")


def test_an_alias_that_returns_to_the_candidate_does_not_disturb_it() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done(), Named(V3), Named(V2))
    assert drive(Done()) == [Swap(V2), Retire()]


def test_a_failing_candidate_is_reported_with_its_reason_and_the_model_stays() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done())
    assert drive(failed()) == [Discard()]
    assert drive.machine.serving == V1
    assert drive.reports[-1] == Report(
        ReplicaState.FAILED, 2, V1, "load failed: ValueError: no such layer"
    )


def test_a_failed_candidate_is_left_alone_until_its_slow_capped_retry() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done(), failed())
    waits = []
    for _ in range(7):
        wake_at = drive.machine.wake_at()
        assert wake_at is not None
        waits.append(wake_at - drive.now)
        assert drive(Tick(), after_seconds=waits[-1] - 0.1) == []
        assert drive(Tick(), after_seconds=0.2) == [Fetch(V2)]
        drive(Done(), failed())
        drive.now = round(drive.now)
    assert [round(wait, -1) for wait in waits] == [30, 60, 120, 240, 480, 900, 900]


def test_a_moved_alias_ends_the_wait_of_a_failed_candidate() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done(), failed())
    assert drive(Named(V3)) == [Fetch(V3)]
    drive(Done(), Done(), Done())
    assert drive(Named(V2)) == [Fetch(V2)]


def test_a_failed_candidate_that_the_alias_leaves_is_no_longer_reported() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done(), failed())
    assert drive(Named(V1)) == []
    assert drive.reports[-1].state is ReplicaState.SERVING
    assert drive.machine.wake_at() is None


def test_a_failure_that_may_pass_is_tried_again_sooner() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), failed(DOWN, transient=True))
    assert drive.machine.wake_at() == drive.now + 1
    assert drive(Tick(), after_seconds=1) == [Fetch(V2)]


def test_a_deleted_alias_leaves_the_model_serving() -> None:
    drive = Drive().serving(V1)
    assert drive(Named(None, "ALIAS_NOT_FOUND")) == []
    assert drive.machine.serving == V1
    assert drive.machine.missing_reason == "ALIAS_NOT_FOUND"
    assert drive(Named(V2)) == [Fetch(V2)]
    assert drive.machine.missing_reason == ""


def test_an_outage_leaves_the_model_serving() -> None:
    drive = Drive().serving(V1)
    assert drive(Lost(DOWN, transient=True), Tick(), after_seconds=1e6) == []
    assert drive.machine.serving == V1
    assert drive.machine.lost == Lost(DOWN, transient=True)
    drive(Contact())
    assert drive.machine.lost is None


def test_a_first_model_that_does_not_load_ends_the_start_after_its_report() -> None:
    drive = Drive()
    drive(Named(V1), Done())
    assert drive(failed()) == [Discard(), GiveUp(BROKEN)]
    assert drive.reports[-1].state is ReplicaState.FAILED


def test_a_reference_that_names_nothing_ends_the_start() -> None:
    assert Drive(good=V1)(Named(None, "ALIAS_NOT_FOUND")) == [GiveUp(None)]


def test_a_refused_watch_ends_the_start() -> None:
    refused = PermissionError("bad token")
    assert Drive()(Lost(refused, transient=False)) == [GiveUp(refused)]


def test_a_start_waits_for_a_registry_that_may_come_back() -> None:
    drive = Drive()
    assert drive(Lost(DOWN, transient=True)) == []
    assert drive(Tick(), after_seconds=1000) == []
    assert drive.machine.last_error is DOWN
    assert drive(Named(V1)) == [Fetch(V1)]


def test_with_the_registry_down_the_version_that_last_served_starts() -> None:
    drive = Drive(good=V1)
    assert drive(Lost(DOWN, transient=True)) == [Fetch(V1)]
    assert drive(Done()) == [Load(V1)]
    assert drive(Done()) == [Swap(V1)]
    assert drive(Named(V1)) == []
    assert drive(Named(V2)) == [Fetch(V2)]


def test_a_silent_registry_is_waited_for_only_so_long() -> None:
    drive = Drive(good=V1)
    assert drive(Tick()) == []
    assert drive.machine.wake_at() == drive.now + 5
    assert drive(Tick(), after_seconds=5) == [Fetch(V1)]


def test_a_restart_on_a_broken_target_serves_the_version_that_last_served() -> None:
    drive = Drive(good=V1)
    drive(Named(V2), Done())
    assert drive(failed()) == [Discard(), Fetch(V1)]
    assert drive.reports[-1].state is ReplicaState.FAILED
    drive(Done(), Done())
    assert drive.machine.serving == V1
    assert drive.reports[-1] == Report(
        ReplicaState.FAILED, 2, V1, "load failed: ValueError: no such layer"
    )


def test_a_start_whose_target_and_fallback_both_fail_ends_with_the_targets_error() -> None:
    drive = Drive(good=V1)
    drive(Named(V2), Done(), failed(), Done())
    assert drive(failed(RuntimeError("also broken"))) == [Discard(), GiveUp(BROKEN)]


def test_a_due_retry_of_the_target_does_not_starve_the_fallback() -> None:
    drive = Drive(good=V1)
    drive(Named(V2), failed(DOWN, transient=True))
    assert drive(Tick(), after_seconds=50) == []
    assert drive(Done()) == [Load(V1)]
    assert drive(Done()) == [Swap(V1), Fetch(V2)]


def test_unload_first_makes_room_only_once_the_bytes_are_there() -> None:
    drive = Drive(swap="unload-first").serving(V1)
    assert drive(Named(V2)) == [Fetch(V2)]
    assert drive(Done()) == [Unload()]
    assert drive.machine.serving == V1
    assert drive(Done()) == [Load(V2)]
    assert drive.machine.serving is None
    assert drive(Done()) == [Swap(V2)]


def test_unload_first_falls_back_to_the_old_version_and_does_not_try_again() -> None:
    drive = Drive(swap="unload-first").serving(V1)
    drive(Named(V2), Done(), Done())
    assert drive(failed()) == [Discard(), Fetch(V1)]
    drive(Done(), Done())
    assert drive.machine.serving == V1
    assert drive.machine.wake_at() is None
    assert drive(Tick(), after_seconds=1e6) == []
    assert drive(Named(V3)) == [Fetch(V3)]


def test_unload_first_keeps_the_model_whose_leases_do_not_drain() -> None:
    drive = Drive(swap="unload-first").serving(V1)
    drive(Named(V2), Done())
    assert drive(failed(TimeoutError("leases"))) == [Discard()]
    assert drive.machine.serving == V1
    assert drive(Tick(), after_seconds=30) == [Fetch(V2)]


def test_unload_first_with_an_alias_moved_back_in_the_gap_reloads_the_old_version() -> None:
    drive = Drive(swap="unload-first").serving(V1)
    drive(Named(V2), Done(), Named(V1))
    assert drive(Done()) == [Discard(), Fetch(V1)]


def test_unload_first_with_an_alias_deleted_in_the_gap_reloads_the_old_version() -> None:
    drive = Drive(swap="unload-first").serving(V1)
    drive(Named(V2), Done(), Named(None, "ALIAS_NOT_FOUND"))
    assert drive(Done()) == [Discard(), Fetch(V1)]


def test_after_closing_nothing_starts_and_what_was_loaded_is_discarded() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Done())
    assert drive(Close()) == []
    assert drive(Named(V3)) == []
    assert drive(Done()) == [Discard()]
    assert drive.machine.serving == V1


def test_closing_ends_a_fetch() -> None:
    drive = Drive()
    drive(Named(V1))
    assert drive(Close()) == [CancelFetch()]
    assert drive(failed()) == []


def test_a_step_that_was_not_under_way_cannot_end() -> None:
    with pytest.raises(RuntimeError, match="not under way"):
        Drive()(Done())


def test_a_cancelled_fetch_is_no_failure_even_if_the_alias_has_come_back() -> None:
    drive = Drive().serving(V1)
    drive(Named(V2), Named(V3), Named(V2))
    assert drive(failed()) == [Fetch(V2)]
    assert drive.machine.failure_count == 0
