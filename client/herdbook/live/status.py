"""What a live model tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from herdbook.core.values.registry import Resolution
from herdbook.live.errors import words_of
from herdbook.live.held import HeldModel
from herdbook.live.machine import LiveMachine, Step


class LiveState(StrEnum):
    """What a live model does."""

    STARTING = "starting"
    """It has not heard yet what the reference names, or waits to try the first version again."""

    DOWNLOADING = "downloading"
    """It brings the candidate's files into the cache and verifies them."""

    LOADING = "loading"
    """It loads, warms up or validates the candidate."""

    DRAINING = "draining"
    """It waits for users of a model to finish, then closes that."""

    SERVING = "serving"
    """It serves what the reference named when the registry last spoke."""

    FAILED = "failed"
    """What the reference names has failed; it is tried again later, or when the alias moves."""

    MISSING = "missing"
    """The reference names nothing any more; what was served still is."""

    CLOSED = "closed"
    """It serves no more."""


@dataclass(frozen=True, slots=True)
class LiveFailure:
    """How a candidate failed."""

    resolution: Resolution
    """The version that failed."""

    reason: str
    """What happened, for people; the registry is told the same."""

    error: BaseException
    """The error that was raised."""

    attempts: int
    """How many times in a row it has failed."""

    retry_in_seconds: float
    """When it is tried again, unless the alias moves before; infinite: not before that."""


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """What a live model does, at one moment."""

    reference: str
    """The reference it follows."""

    state: LiveState

    serving: Resolution | None
    """The version that answers; None if none does."""

    target: Resolution | None
    """The version that the reference names, as far as is known; None if it names none."""

    pinned: Resolution | None
    """The version that is to serve whatever the reference names; None if none is pinned."""

    paused: bool
    """Whether what serves is to stay."""

    candidate: Resolution | None
    """The version that is on its way to serve; None if none is."""

    failure: LiveFailure | None
    """How the target, or the pinned version, failed; None if it did not."""

    missing_reason: str | None
    """Why the reference names nothing, as an error reason; None if it does not say so."""

    connected: bool
    """Whether the registry is reached, as far as is known."""

    outage_reason: str | None
    """Why the registry is not reached; None if it is."""

    contact_age_seconds: float | None
    """How long ago the registry last spoke, which it does every 30 seconds; None: it never did."""

    leases: int
    """How many leases of the model that serves are held."""

    load_seconds: float | None
    """How long the model that serves took to load, warm up and validate; None if none serves."""

    swap_count: int
    """How many models have begun to serve."""

    failure_count: int
    """How many times a candidate has failed."""

    def news(self) -> object:
        """Returns what is worth telling when it changes."""
        return (
            self.state,
            self.serving,
            self.target,
            self.pinned,
            self.paused,
            self.failure_count,
            self.missing_reason,
            self.connected,
        )


def status_of(
    machine: LiveMachine,
    reference: str,
    *,
    held: HeldModel[Any] | None,
    closed: bool,
    now: float,
) -> LiveStatus:
    """Describes a machine, and the model that serves."""
    lost = machine.lost
    connected = machine.contacted_at is not None and lost is None and not closed
    return LiveStatus(
        reference=reference,
        state=LiveState.CLOSED if closed else _state(machine),
        serving=machine.serving,
        target=machine.target,
        pinned=machine.pinned,
        paused=machine.paused,
        candidate=machine.candidate,
        failure=_failure(machine, now),
        missing_reason=machine.missing_reason or None,
        connected=connected,
        outage_reason=None if lost is None else words_of(lost.error),
        contact_age_seconds=None if machine.contacted_at is None else now - machine.contacted_at,
        leases=0 if held is None else held.leases,
        load_seconds=None if held is None else held.load_seconds,
        swap_count=machine.swap_count,
        failure_count=machine.failure_count,
    )


_WORK_STATES = {
    Step.FETCH: LiveState.DOWNLOADING,
    Step.UNLOAD: LiveState.DRAINING,
    Step.LOAD: LiveState.LOADING,
    Step.RETIRE: LiveState.DRAINING,
}


def _state(machine: LiveMachine) -> LiveState:
    if machine.work is not None:
        return _WORK_STATES[machine.work.step]
    if machine.failure is not None:
        return LiveState.FAILED
    if machine.serving is None:
        return LiveState.STARTING
    missing = machine.missing_reason and machine.pinned is None
    return LiveState.MISSING if missing else LiveState.SERVING


def _failure(machine: LiveMachine, now: float) -> LiveFailure | None:
    failure = machine.failure
    if failure is None:
        return None
    return LiveFailure(
        failure.resolution,
        failure.text,
        failure.error,
        failure.attempts,
        max(0.0, failure.retry_at - now),
    )
