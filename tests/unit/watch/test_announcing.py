"""What is said of the fleet, over real databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from herdbook_server.ports.references import ByAlias, Reference
from herdbook_server.ports.values import EventKind, ReplicaState
from herdbook_server.watch.announcing import Announcer
from herdbook_server.watch.fleet import Fleet
from tests.support.waiting import POLL_SECONDS
from tests.unit.registry.conftest import ADA, MODEL, Registry
from tests.unit.watch.conftest import DEADLINE_SECONDS
from tests.unit.watch.test_fleet import LEASE_US, report

KINDS = {EventKind.FLEET_CONVERGED, EventKind.LOAD_FAILED}


class Announcing:
    """Servers that look at one fleet."""

    def __init__(self, registry: Registry, announcers: list[Announcer]) -> None:
        self.registry = registry
        self.announcers = announcers
        self.fleet = Fleet(
            database=registry.database,
            clock=registry.clock,
            on_reports=self._notice,
        )

    def _notice(self, references: Iterable[Reference]) -> None:
        for each in self.announcers:
            each.notice(references)

    async def said(self) -> list[tuple[EventKind, int, str]]:
        """What events say of the fleet."""
        async with self.registry.database.read() as records:
            events = await records.events.after(0, limit=1000)
        return [(e.kind, e.version, e.reason) for e in events if e.kind in KINDS]

    async def until(self, *wanted: tuple[EventKind, int, str]) -> None:
        """Wait until exactly this is said."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await self.said() != list(wanted):  # noqa: ASYNC110 - in a database
                await asyncio.sleep(POLL_SECONDS)


@pytest.fixture
async def announcing(registry: Registry) -> AsyncIterator[Announcing]:
    """Two servers, and an alias that names version 1 of 3."""
    for _ in range(3):
        await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    announcers = [
        Announcer(
            database=registry.database, clock=registry.clock, pause_seconds=0.0, again_seconds=0.05
        )
        for _ in range(2)
    ]
    looking = [asyncio.create_task(each.run()) for each in announcers]
    yield Announcing(registry, announcers)
    for task in looking:
        task.cancel()
    await asyncio.wait(looking)


async def test_a_fleet_that_has_converged_is_said_once_a_move(announcing: Announcing) -> None:
    for replica in ("a", "b"):
        await announcing.fleet.report(report(replica, ReplicaState.WATCHING, 0))
    for replica in ("a", "b"):
        assert await announcing.said() == []
        await announcing.fleet.report(report(replica, ReplicaState.SERVING, 1, serving=1))
    first = (EventKind.FLEET_CONVERGED, 1, "Replicas that serve it: 2.")
    await announcing.until(first)
    await announcing.fleet.report(report("a", ReplicaState.SERVING, 1, serving=1))
    await announcing.registry.aliases.set(ADA, MODEL, "champion", 2)
    for replica in ("a", "b"):
        await announcing.fleet.report(report(replica, ReplicaState.SERVING, 2, serving=2))
    await announcing.until(first, (EventKind.FLEET_CONVERGED, 2, "Replicas that serve it: 2."))


async def test_the_first_failure_is_said_once_a_move(announcing: Announcing) -> None:
    await announcing.fleet.report(report("a", ReplicaState.FAILED, 1))
    said = (EventKind.LOAD_FAILED, 1, "pod: out of memory")
    await announcing.until(said)
    await announcing.fleet.report(report("b", ReplicaState.FAILED, 1))
    await announcing.fleet.report(report("c", ReplicaState.SERVING, 1, serving=1))
    await asyncio.sleep(0.2)
    assert await announcing.said() == [said]


async def test_a_replica_that_goes_without_a_word_is_in_nobodys_way(announcing: Announcing) -> None:
    await announcing.fleet.report(report("a", ReplicaState.WATCHING, 0))
    announcing.registry.clock.time_us += LEASE_US // 2 + 1
    await announcing.fleet.report(report("b", ReplicaState.SERVING, 1, serving=1))
    announcing.registry.clock.time_us += LEASE_US // 2 + 1
    await announcing.until((EventKind.FLEET_CONVERGED, 1, "Replicas that serve it: 1."))


async def test_of_an_alias_that_is_gone_nothing_is_said(announcing: Announcing) -> None:
    await announcing.registry.aliases.delete(ADA, MODEL, "champion")
    await announcing.fleet.report(report("a", ReplicaState.SERVING, 1, serving=1))
    announcing.announcers[0].notice([ByAlias(MODEL, "none")])
    await asyncio.sleep(0.2)
    assert await announcing.said() == []
