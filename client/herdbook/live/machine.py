"""The live model's decisions: what to fetch, load, swap in and report, and when to try again.

No I/O and no clock: inputs go in with the time, commands come out. A driver carries the commands
out, slow ones one after the other, and tells the machine how they ended. All times are seconds of
one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from herdbook.core.retrying import Backoff
from herdbook.core.values.fleet import ReplicaState
from herdbook.core.values.registry import Resolution
from herdbook.live.errors import words_of
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
    Pause,
    Pin,
    Refresh,
    Remember,
    Report,
    Retire,
    Swap,
    Tick,
    Unload,
)

SwapMode = Literal["load-first", "unload-first"]
"""Whether a candidate is loaded beside the model that serves, or only after that was unloaded."""


class Step(StrEnum):
    """What is being done about a version."""

    FETCH = "fetch"
    """Its files are brought into the cache."""

    UNLOAD = "unload"
    """The model that serves is drained and closed to make room for it."""

    LOAD = "load"
    """It is loaded, warmed up and validated."""

    RETIRE = "retire"
    """It serves, and the model that served before is drained and closed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a version failed to become the one that serves."""

    resolution: Resolution
    step: Step
    error: BaseException
    transient: bool

    activity: str
    """What exactly was being done."""

    attempts: int
    """How many times in a row it has failed."""

    retry_at: float
    """When it may be tried again."""

    @property
    def text(self) -> str:
        """What happened, for people."""
        return f"{self.activity} failed: {type(self.error).__name__}: {words_of(self.error)}"


TRANSIENT = Backoff(first_seconds=1.0, longest_seconds=60.0)
LASTING = Backoff(first_seconds=30.0, longest_seconds=900.0)


REMEMBERED_SECONDS = 24 * 3600.0
"""How often it is recorded again what serves, lest the record be taken for one of the past."""


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """How patient a live model is."""

    swap: SwapMode = "load-first"

    transient: Backoff = TRANSIENT
    """After failures that may pass, such as a registry that is down."""

    lasting: Backoff = LASTING
    """After failures that will likely repeat, such as a model that does not load."""

    offline_after_seconds: float = 5.0
    """How long a cold start waits for the registry before the cached version that served last is
    taken."""


@dataclass(frozen=True, slots=True)
class Work:
    """The step under way."""

    step: Step
    resolution: Resolution
    cancelled: bool = False


class LiveMachine:
    """Decides for one reference. Not thread-safe."""

    def __init__(self, policy: LivePolicy, *, now: float, good: Resolution | None = None) -> None:
        """Starts without a model; `good` is the version that served last and is in the cache."""
        self.policy = policy
        self.target: Resolution | None = None
        self.missing_reason = ""
        self.pinned: Resolution | None = None
        self.paused = False
        self.serving: Resolution | None = None
        self.good = good
        self.work: Work | None = None
        self.contacted_at: float | None = None
        self.lost: Lost | None = None
        self.swap_count = 0
        self.failure_count = 0
        self.closed = False
        self._offline_at = now + policy.offline_after_seconds
        self._failures: dict[Resolution, Failure] = {}
        self._reported: Report | None = None
        self._remembered: Resolution | None = None
        self._remember_again_at = now

    @property
    def wanted(self) -> Resolution | None:
        """The version that should serve: the pinned one, else what the reference names."""
        return self.pinned or self.target

    @property
    def candidate(self) -> Resolution | None:
        """The version that is on its way to serve."""
        return None if self.work is None or self.work.step is Step.RETIRE else self.work.resolution

    def has_failed(self, resolution: Resolution) -> bool:
        """Whether the last attempt to have a version serve has failed."""
        return resolution in self._failures

    @property
    def failure(self) -> Failure | None:
        """How the version that should serve failed; None if it did not."""
        return None if self.wanted is None else self._failures.get(self.wanted)

    @property
    def last_error(self) -> BaseException | None:
        """What stands in the way of a first model."""
        if self.failure is not None:
            return self.failure.error
        return None if self.lost is None else self.lost.error

    def handle(self, event: Input, *, now: float) -> list[Command]:
        """Takes an input at a time and returns what to do, in order."""
        closed = self.closed
        commands = [*self._take(event, now), *self._start(now)]
        report = self._report()
        if report != self._reported and not closed and not self.closed:
            self._reported = report
            commands.append(report)
        return [*commands, *self._give_up()]

    def wake_at(self) -> float | None:
        """Returns when time alone will change something; None if never."""
        if self.closed or self.work is not None or self._stays():
            return None
        times = [self._fall_back_at()]
        if self.failure is not None and self.wanted != self.serving:
            times.append(self.failure.retry_at)
        return min(filter(math.isfinite, times), default=None)

    def _fall_back_at(self) -> float:
        """Returns when the version that served last is to be tried; infinite if it is not."""
        if self.good is None or self.serving is not None:
            return math.inf
        failure = self._failures.get(self.good)
        retry_at = -math.inf if failure is None else failure.retry_at
        unheard = self.wanted is None and not self.missing_reason and self.lost is None
        if unheard:
            return max(retry_at, self._offline_at)
        return retry_at if self._must_fall_back(retry_at) else math.inf

    def _take(self, event: Input, now: float) -> Iterator[Command]:
        match event:
            case Named():
                self._contact(now)
                yield from self._name(event, now)
            case Contact():
                self._contact(now)
                yield from self._remember(now)
            case Lost():
                self.lost = event
            case Close():
                self.closed = True
            case Done():
                yield from self._done(now)
            case Failed():
                yield from self._failed(event, now)
            case Pin() | Pause() | Refresh():
                yield from self._steer(event, now)
            case Tick():
                pass
        yield from self._cancel_if_stale(now)

    def _contact(self, now: float) -> None:
        self.contacted_at = now
        self.lost = None

    def _name(self, event: Named, now: float) -> Iterator[Command]:
        self.target = event.resolution
        self.missing_reason = event.missing_reason if event.resolution is None else ""
        self._forget_failures()
        yield from self._remember(now)

    def _steer(self, event: Pin | Pause | Refresh, now: float) -> Iterator[Command]:
        match event:
            case Pause(paused):
                self.paused = paused
            case Refresh():
                self._failures.clear()
            case Pin(resolution):
                self.pinned = resolution
                self._forget_failures()
                yield from self._remember(now)

    def _forget_failures(self) -> None:
        keep = (self.target, self.pinned, self.good)
        self._failures = {r: f for r, f in self._failures.items() if r in keep}

    def _remember(self, now: float) -> Iterator[Command]:
        """Has what serves recorded, and now and then again, if the reference names it."""
        due = self.serving != self._remembered or now >= self._remember_again_at
        if due and self.serving is not None and self.serving == self.target:
            self._remembered = self.serving
            self._remember_again_at = now + REMEMBERED_SECONDS
            yield Remember(self.serving)

    def _cancel_if_stale(self, now: float) -> Iterator[Command]:
        work = self.work
        if work is None or work.step is not Step.FETCH or work.cancelled:
            return
        if self.closed or not self._wants(work.resolution, now):
            self.work = Work(work.step, work.resolution, cancelled=True)
            yield CancelFetch()

    def _done(self, now: float) -> Iterator[Command]:
        work, self.work = self._under_way(), None
        match work.step:
            case Step.FETCH:
                yield from self._fetched(work.resolution, now)
            case Step.UNLOAD:
                self.serving = None
                yield from self._unloaded(work.resolution, now)
            case Step.LOAD:
                yield from self._loaded(work.resolution, now)
            case Step.RETIRE:
                pass

    def _fetched(self, fetched: Resolution, now: float) -> Iterator[Command]:
        if self.closed or not self._wants(fetched, now):
            yield Discard()
        elif self.policy.swap == "unload-first" and self.serving is not None:
            self.work = Work(Step.UNLOAD, fetched)
            yield Unload()
        else:
            self.work = Work(Step.LOAD, fetched)
            yield Load(fetched)

    def _unloaded(self, fetched: Resolution, now: float) -> Iterator[Command]:
        if self.closed or not self._wants(fetched, now):
            yield Discard()
        else:
            self.work = Work(Step.LOAD, fetched)
            yield Load(fetched)

    def _loaded(self, loaded: Resolution, now: float) -> Iterator[Command]:
        # With nothing to serve, the last good version serves even if the target can be had by now.
        stopgap = self.serving is None and loaded == self.good
        if self.closed or not (stopgap or self._wants(loaded, now)):
            yield Discard()
            return
        replaced, self.serving, self.good = self.serving, loaded, loaded
        self._failures.pop(loaded, None)
        self.swap_count += 1
        yield Swap(loaded)
        yield from self._remember(now)
        if replaced is not None:
            self.work = Work(Step.RETIRE, loaded)
            yield Retire()

    def _failed(self, event: Failed, now: float) -> Iterator[Command]:
        work, self.work = self._under_way(), None
        if work.step is Step.RETIRE:
            return
        if work.step is not Step.FETCH:
            yield Discard()
        known = (self.target, self.pinned, self.good)
        if work.cancelled or self.closed or work.resolution not in known:
            return
        self._note(work, event, now)

    def _note(self, work: Work, event: Failed, now: float) -> None:
        earlier = self._failures.get(work.resolution)
        attempts = 1 if earlier is None else earlier.attempts + 1
        backoff = self.policy.transient if event.transient else self.policy.lasting
        retry_at = now + backoff.delay_seconds(attempts, jitter=event.jitter)
        if self._interrupts(work):
            retry_at = math.inf
        self.failure_count += 1
        self._failures[work.resolution] = Failure(
            work.resolution,
            work.step,
            event.error,
            event.transient,
            event.activity or work.step.value,
            attempts,
            retry_at,
        )

    def _interrupts(self, work: Work) -> bool:
        """Whether trying this again would take away, once more, a model that serves."""
        unloads = self.policy.swap == "unload-first" and work.step is Step.LOAD
        return unloads and self.good is not None and work.resolution != self.good

    def _under_way(self) -> Work:
        if self.work is None:
            raise RuntimeError("a step ended that was not under way")
        return self.work

    def _start(self, now: float) -> Iterator[Command]:
        if self.closed or self.work is not None:
            return
        goal = self._goal(now)
        if goal is not None and goal != self.serving:
            self.work = Work(Step.FETCH, goal)
            yield Fetch(goal)

    def _give_up(self) -> Iterator[Command]:
        if not self.closed and self.work is None and self._hopeless():
            self.closed = True
            yield GiveUp(self.last_error)

    def _goal(self, now: float) -> Resolution | None:
        """The version to serve, as far as that is possible now; None: leave things as they are."""
        if self._stays():
            return None
        if self.wanted is not None and self._may_try(self.wanted, now):
            return self.wanted
        if self._may_fall_back() and self._must_fall_back(now):
            return self.good if self.good is not None and self._may_try(self.good, now) else None
        return None

    def _wants(self, resolution: Resolution, now: float) -> bool:
        """Whether work on this version still leads somewhere."""
        if self._goal(now) == resolution:
            return True
        # A retry of a failed target that has come due must not starve the fallback.
        return self._may_fall_back() and resolution == self.good and self._must_fall_back(now)

    def _stays(self) -> bool:
        """Whether what serves is to be left alone."""
        return self.paused and self.serving is not None

    def _may_try(self, resolution: Resolution, now: float) -> bool:
        failure = self._failures.get(resolution)
        return failure is None or now >= failure.retry_at

    def _may_fall_back(self) -> bool:
        return self.serving is None and self.good is not None

    def _must_fall_back(self, now: float) -> bool:
        if self.wanted is not None:
            return self.failure is not None
        if self.missing_reason:
            return self.swap_count > 0
        return self.lost is not None or now >= self._offline_at

    def _hopeless(self) -> bool:
        """Whether a start can no longer succeed without somebody doing something."""
        if self.swap_count or self.serving is not None:
            return False
        if self.missing_reason:
            return True
        if self.good is not None and self.good not in self._failures:
            return False
        if self.failure is not None:
            return not self.failure.transient
        return self.wanted is None and self.lost is not None and not self.lost.transient

    def _report(self) -> Report:
        state, version, failure = self._reported_state()
        return Report(state, version, self.serving, failure)

    def _reported_state(self) -> tuple[ReplicaState, int, str]:
        if self.failure is not None and self.candidate != self.wanted:
            return ReplicaState.FAILED, self.failure.resolution.version, self.failure.text
        if self.work is not None and self.candidate is not None:
            fetching = self.work.step is Step.FETCH
            state = ReplicaState.DOWNLOADING if fetching else ReplicaState.LOADING
            return state, self.candidate.version, ""
        if self.serving is not None:
            return ReplicaState.SERVING, self.serving.version, ""
        return ReplicaState.WATCHING, 0, ""
