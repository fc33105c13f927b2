"""Whatever happens in whatever order, the live model's decisions keep their promises."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from herdbook.core.values.fleet import ReplicaState
from herdbook.core.values.registry import Resolution
from herdbook.live.machine import LiveMachine, LivePolicy, Step
from herdbook.live.messages import (
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
    Report,
    Retire,
    Swap,
    Tick,
    Unload,
)

VERSIONS = [Resolution("m", number, f"sha256:{number}") for number in range(1, 5)]
BROKEN = ValueError("broken")
DOWN = ConnectionError("down")


class World(RuleBasedStateMachine):
    """A driver that obeys, and a world that does what it likes."""

    @initialize(
        swap=st.sampled_from(["load-first", "unload-first"]),
        good=st.sampled_from([None, *VERSIONS]),
    )
    def start(self, swap: str, good: Resolution | None) -> None:
        self.now = 0.0
        self.unloads = swap == "unload-first"
        policy = LivePolicy("unload-first" if self.unloads else "load-first")
        self.machine = LiveMachine(policy, now=0.0, good=good)
        self.good = good
        self.slow: Fetch | Load | Unload | Retire | None = None
        self.fetched: Resolution | None = None
        self.loaded: Resolution | None = None
        self.current: Resolution | None = None
        self.named: Resolution | None = None
        self.given_up = False
        self.closed = False
        self.reports: list[Report] = []
        self.failed_at: dict[Resolution, float] = {}

    def tell(self, event: Input) -> list[Command]:
        commands = self.machine.handle(event, now=self.now)
        for command in commands:
            self.obey(command)
        return commands

    def obey(self, command: Command) -> None:
        match command:
            case Fetch() | Load() | Unload() | Retire():
                assert self.slow is None, "one slow step at a time"
                assert not self.closed
                assert not self.given_up
                self.slow = command
            case Swap(resolution):
                assert self.loaded == resolution, "only what was loaded is swapped in"
                stopgap = self.current is None and resolution == self.good
                assert resolution == self.named or stopgap, "the newest target wins"
                self.good = resolution
                self.current, self.loaded, self.fetched = resolution, None, None
            case Discard():
                assert self.fetched is not None
                self.loaded = self.fetched = None
            case Report():
                assert not self.reports or self.reports[-1] != command, "nothing is said twice"
                self.reports.append(command)
            case GiveUp():
                assert self.current is None
                self.given_up = True
            case _:
                pass
        match command:
            case Fetch(resolution):
                assert self.fetched is None, "nothing is forgotten"
                assert resolution != self.current
                again = self.failed_at.get(resolution)
                assert again is None or self.now - again >= 0.5, "no tight loop"
            case Load(resolution):
                assert self.fetched == resolution, "only what was fetched is loaded"

    @rule(resolution=st.sampled_from(VERSIONS))
    def alias_moves(self, resolution: Resolution) -> None:
        if resolution != self.named:
            self.failed_at.clear()
        self.named = resolution
        self.tell(Named(resolution))

    @rule()
    def alias_goes(self) -> None:
        self.named = None
        self.failed_at.clear()
        self.tell(Named(None, "ALIAS_NOT_FOUND"))

    @rule()
    def registry_speaks(self) -> None:
        self.tell(Contact())

    @rule(transient=st.booleans())
    def registry_goes(self, transient: bool) -> None:  # noqa: FBT001 - drawn by name
        self.tell(Lost(DOWN, transient))

    @rule(seconds=st.floats(0.01, 2000))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick())

    @precondition(lambda self: self.slow is not None)
    @rule()
    def step_succeeds(self) -> None:
        self.finish()

    @precondition(lambda self: self.slow is not None)
    @rule(transient=st.booleans(), jitter=st.floats(0, 1))
    def step_fails(self, transient: bool, jitter: float) -> None:  # noqa: FBT001 - drawn by name
        work = self.machine.work
        assert work is not None
        if work.step is not Step.RETIRE and not work.cancelled:
            self.failed_at[work.resolution] = self.now
        self.slow = None
        self.tell(Failed(BROKEN, transient, jitter=jitter))

    @precondition(lambda self: not self.closed)
    @rule(often=st.integers(0, 20))
    def somebody_closes(self, often: int) -> None:
        if often == 0:
            self.closed = True
            self.tell(Close())

    def finish(self) -> None:
        slow, self.slow = self.slow, None
        match slow:
            case Fetch(resolution):
                self.fetched = resolution
            case Load(resolution):
                self.loaded = resolution
            case Unload():
                self.current = None
            case _:
                pass
        self.tell(Done())

    @invariant()
    def the_machine_knows_what_serves(self) -> None:
        assert self.machine.serving == self.current
        assert (self.machine.work is None) == (self.slow is None)

    @invariant()
    def load_first_never_stops_serving(self) -> None:
        if not self.unloads and self.machine.swap_count:
            assert self.current is not None

    @invariant()
    def what_is_told_is_true(self) -> None:
        if not self.reports or self.closed or self.given_up:
            return
        last = self.reports[-1]
        assert last.serving == self.current
        assert (last.state is ReplicaState.FAILED) == bool(last.failure)
        if last.state is ReplicaState.SERVING:
            assert self.current is not None
            assert last.version == self.current.version

    @invariant()
    def waking_up_does_something(self) -> None:
        """Else a driver would spin."""
        wake_at = self.machine.wake_at()
        if wake_at is None:
            return
        machine, now = copy_of(self.machine), max(self.now, wake_at)
        machine.handle(Tick(), now=now)
        later = machine.wake_at()
        assert machine.work is not None or machine.closed or later is None or later > now

    @invariant()
    def it_comes_to_rest_on_what_the_alias_names(self) -> None:
        """From here, if all goes well and time passes, the last target ends up serving."""
        if self.closed or self.given_up or self.named is None:
            return
        failure = self.machine.failure
        if failure is None or failure.retry_at < float("inf"):
            assert self.would_serve() == self.named

    def would_serve(self) -> Resolution | None:
        """Plays the future on a copy."""
        machine = copy_of(self.machine)
        now = self.now
        for _ in range(20):
            now += 1000
            machine.handle(Done() if machine.work is not None else Tick(), now=now)
        return machine.serving


def copy_of(machine: LiveMachine) -> LiveMachine:
    twin = LiveMachine(machine.policy, now=0.0)
    twin.__dict__.update(machine.__dict__)
    twin._failures = dict(machine._failures)
    return twin


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
