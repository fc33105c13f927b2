"""What is said of the fleet, over real databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.references import ByAlias, Reference
from herdbook_server.ports.values import EventKind, ReplicaState
from herdbook_server.watch.announcing import Announcer
from herdbook_server.watch.fleet import Fleet
from tests.support.waiting import POLL_SECONDS
from tests.unit.registry.conftest import ADA, MODEL, Registry
from tests.unit.watch.conftest import DEADLINE_SECONDS
from tests.unit.watch.test_fleet import LEASE_US, report

KINDS = {EventKind.FLEET_CONVERGED, EventKind.LOAD_FAILED}
CHAMPION = ByAlias(MODEL, "champion")
HELD_SECONDS = 5
HELD_US = 5_000_000

Said = tuple[EventKind, int, str]


def converged(version: int, replicas: int) -> Said:
    """What is said when all serve a version."""
    return (EventKind.FLEET_CONVERGED, version, f"Replicas that serve it: {replicas}.")


class CountedAnnouncer(Announcer):
    """Counts its looks."""

    looks = 0

    async def _look(self, reference: ByAlias) -> None:
        await super()._look(reference)
        self.looks += 1


class Announcing:
    """Servers that look at one fleet."""

    def __init__(self, registry: Registry, announcers: list[CountedAnnouncer]) -> None:
        self.registry = registry
        self.announcers = announcers
        self.fleet = Fleet(database=registry.database, clock=registry.clock, on_heard=self._notice)

    def _notice(self, references: Iterable[Reference]) -> None:
        noticed = list(references)
        for each in self.announcers:
            each.notice(noticed)

    async def serve(self, version: int, *replicas: str) -> None:
        """Have replicas report that they serve a version."""
        for replica in replicas:
            await self.fleet.report(report(replica, ReplicaState.SERVING, version, serving=version))

    async def looked(self) -> None:
        """Wait until every server has looked at the alias, from beginning to end."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            for each in self.announcers:
                wanted = each.looks + 2
                while each.looks < wanted:
                    each.notice([CHAMPION])
                    await asyncio.sleep(POLL_SECONDS)

    async def hold(self, us: int = HELD_US) -> None:
        """Let time go by, between looks."""
        await self.looked()
        self.registry.clock.time_us += us
        await self.looked()

    async def said(self) -> list[Said]:
        """What events say of the fleet."""
        async with self.registry.database.read() as records:
            events = await records.events.after(0, limit=1000)
        return [(e.kind, e.version, e.reason) for e in events if e.kind in KINDS]


@pytest.fixture
async def announcing(registry: Registry) -> AsyncIterator[Announcing]:
    """Two servers, and an alias that names version 1 of 3."""
    for _ in range(3):
        await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    announcers = [
        CountedAnnouncer(
            database=registry.database,
            clock=registry.clock,
            held_seconds=HELD_SECONDS,
            pause_seconds=0.0,
            again_seconds=0.05,
        )
        for _ in range(2)
    ]
    looking = [asyncio.create_task(each.run()) for each in announcers]
    yield Announcing(registry, announcers)
    for task in looking:
        task.cancel()
    await asyncio.wait(looking)


async def test_a_fleet_that_has_converged_is_said_once_a_move(announcing: Announcing) -> None:
    await announcing.fleet.report(report("a", ReplicaState.WATCHING, 0))
    await announcing.serve(1, "b")
    await announcing.hold()
    assert await announcing.said() == []
    await announcing.serve(1, "a")
    await announcing.hold()
    assert await announcing.said() == [converged(1, 2)]
    await announcing.registry.aliases.set(ADA, MODEL, "champion", 2)
    await announcing.serve(2, "a", "b")
    await announcing.hold()
    await announcing.hold()
    assert await announcing.said() == [converged(1, 2), converged(2, 2)]


async def test_a_fleet_that_is_not_whole_for_long_has_not_converged(
    announcing: Announcing,
) -> None:
    await announcing.serve(1, "a")
    await announcing.hold(HELD_US - 1)
    await announcing.fleet.report(report("b", ReplicaState.WATCHING, 0))
    await announcing.hold(1)
    await announcing.serve(1, "b")
    await announcing.hold(HELD_US - 1)
    assert await announcing.said() == []
    await announcing.hold(1)
    assert await announcing.said() == [converged(1, 2)]


async def test_a_move_back_that_no_replica_followed_is_said_too(announcing: Announcing) -> None:
    await announcing.serve(1, "a")
    await announcing.hold()
    for version in (2, 1):
        await announcing.registry.aliases.set(ADA, MODEL, "champion", version)
    async with announcing.registry.database.read() as records:
        events = await records.events.after(0, limit=1000)
    for each in announcing.announcers:
        each.follow(events)
    await announcing.hold()
    assert await announcing.said() == [converged(1, 1), converged(1, 1)]


async def test_a_failure_is_said_once_a_move(announcing: Announcing) -> None:
    await announcing.fleet.report(report("a", ReplicaState.FAILED, 1))
    await announcing.looked()
    said = [(EventKind.LOAD_FAILED, 1, "pod: out of memory")]
    assert await announcing.said() == said
    await announcing.fleet.report(report("b", ReplicaState.FAILED, 1))
    await announcing.serve(1, "c")
    await announcing.hold()
    assert await announcing.said() == said


async def test_a_replica_that_goes_without_a_word_is_in_nobodys_way(announcing: Announcing) -> None:
    await announcing.fleet.report(report("a", ReplicaState.WATCHING, 0))
    announcing.registry.clock.time_us += LEASE_US // 2 + 1
    await announcing.serve(1, "b")
    await announcing.hold(LEASE_US // 2 + 1)
    await announcing.serve(1, "b")
    await announcing.hold()
    assert await announcing.said() == [converged(1, 1)]


async def test_of_an_alias_that_is_gone_nothing_is_said(announcing: Announcing) -> None:
    await announcing.registry.aliases.delete(ADA, MODEL, "champion")
    await announcing.serve(1, "a")
    await announcing.hold()
    assert await announcing.said() == []


async def test_of_a_deleted_model_nothing_is_said(announcing: Announcing) -> None:
    await announcing.registry.models.delete(ADA, MODEL, force=True)
    await announcing.serve(1, "a")
    await announcing.hold()
    assert await announcing.said() == []


async def test_what_another_server_has_said_is_no_reason_to_write(
    announcing: Announcing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await announcing.serve(1, "a")
    await announcing.hold()
    late = CountedAnnouncer(
        database=announcing.registry.database, clock=announcing.registry.clock, held_seconds=0
    )
    monkeypatch.setattr(announcing.registry.database, "write", None)
    await late._look(CHAMPION)
    assert late.looks == 1


class Stepped(CountedAnnouncer):
    """Looks when it is told to."""

    async def step(self, us: int = 0) -> None:
        """Let time go by, and look at what is unsettled."""
        self._clock.time_us += us  # type: ignore[attr-defined]
        self._due |= self._unsettled
        await self._look_at_due()


@pytest.fixture
async def stepped(registry: Registry) -> Stepped:
    """What looks at an alias that names version 1."""
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    made = Stepped(database=registry.database, clock=registry.clock, held_seconds=HELD_SECONDS)
    made.notice([CHAMPION])
    return made


async def test_what_falls_due_during_a_look_waits(registry: Registry, stepped: Stepped) -> None:
    class Noticing(Stepped):
        async def _look(self, reference: ByAlias) -> None:
            await super()._look(reference)
            self.notice([reference])

    noticing = Noticing(database=registry.database, clock=registry.clock)
    noticing.notice([CHAMPION])
    await noticing.step()
    assert noticing.looks == 1


async def test_an_outage_longer_than_a_lease_makes_it_forget_nothing(
    registry: Registry, stepped: Stepped
) -> None:
    fleet = Fleet(database=registry.database, clock=registry.clock)
    await fleet.report(report("a", ReplicaState.SERVING, 1, serving=1))
    await stepped.step()
    await stepped.step(LEASE_US + 1)
    await fleet.report(report("a", ReplicaState.SERVING, 1, serving=1))
    await stepped.step()
    await stepped.step(HELD_US)
    async with registry.database.read() as records:
        events = await records.events.after(0, limit=100)
    assert [event.kind for event in events if event.kind in KINDS] == [EventKind.FLEET_CONVERGED]


async def test_an_alias_that_no_replica_watches_is_forgotten(stepped: Stepped) -> None:
    for _ in range(20):
        await stepped.step()
    assert stepped.looks < 20
    assert stepped._moves == {}


async def test_what_could_not_be_looked_at_is_looked_at_later(
    announcing: Announcing, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def refuse() -> None:
        refused.append(1)
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(announcing.registry.database, "read", refuse)
        await announcing.serve(1, "a")
        await until(lambda: len(refused) >= len(announcing.announcers))
    await until(lambda: all(each.looks for each in announcing.announcers))


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(POLL_SECONDS)
