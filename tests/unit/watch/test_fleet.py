"""The fleet, over real databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from herdbook_server.errors import DatabaseUnavailable, FieldInvalid, ReferenceInvalid
from herdbook_server.ports.references import ByAlias, Reference
from herdbook_server.ports.values import ReplicaReport, ReplicaState
from herdbook_server.watch.fleet import Fleet
from herdbook_server.watch.hub import Hub
from herdbook_server.watch.values import Replica, Subscription
from tests.unit.registry.conftest import ADA, MODEL, Registry
from tests.unit.watch.conftest import DEADLINE_SECONDS, Watching

CHAMPION = f"{MODEL}@champion"
LEASE_US = 30_000_000


def report(replica: str, state: ReplicaState, version: int, serving: int = 0) -> ReplicaReport:
    return ReplicaReport(
        replica_id=replica,
        host="host",
        name="pod",
        reference=CHAMPION,
        state=state,
        version=version,
        serving_version=serving,
        serving_digest="",
        failure="out of memory" if state is ReplicaState.FAILED else "",
        reported_at_us=1,
        model=MODEL,
    )


@pytest.fixture
async def target(watching: Watching) -> None:
    """`champion` names version 2."""
    await watching.registry.register()
    await watching.registry.register()
    await watching.registry.aliases.set(ADA, MODEL, "champion", 2)


@pytest.mark.usefixtures("target")
async def test_convergence_counts_who_serves_who_failed_and_who_is_on_the_way(
    watching: Watching,
) -> None:
    for said in (
        report("a", ReplicaState.SERVING, 2, serving=2),
        report("b", ReplicaState.LOADING, 2, serving=1),
        report("c", ReplicaState.FAILED, 2, serving=1),
        report("d", ReplicaState.FAILED, 1),
        report("e", ReplicaState.WATCHING, 0),
    ):
        await watching.fleet.report(said)
    seen = await watching.fleet.convergence(CHAMPION)
    assert (seen.target_version, seen.replica_count) == (2, 5)
    assert (seen.converged_count, seen.failed_count, seen.pending_count) == (1, 1, 3)
    assert [(r.replica_id, r.failure) for r in seen.failures] == [("c", "out of memory")]
    assert seen.serving_counts == {0: 2, 1: 2, 2: 1}


@pytest.mark.usefixtures("target")
async def test_a_reference_is_the_same_however_it_is_spelled(watching: Watching) -> None:
    await watching.fleet.report(report("a", ReplicaState.SERVING, 2, serving=2))
    seen = await watching.fleet.convergence(f"models:/{MODEL}@champion")
    assert seen.converged_count == 1


async def test_a_reference_without_target_converges_nobody(watching: Watching) -> None:
    await watching.fleet.report(report("a", ReplicaState.WATCHING, 0))
    seen = await watching.fleet.convergence(CHAMPION)
    assert (seen.target_version, seen.converged_count, seen.pending_count) == (0, 0, 1)


async def test_a_silent_replica_is_gone_after_its_lease(watching: Watching) -> None:
    await watching.fleet.report(report("a", ReplicaState.SERVING, 2, serving=2))
    watching.registry.clock.time_us += LEASE_US
    assert (await watching.fleet.convergence(CHAMPION)).replica_count == 0


async def test_a_replica_that_stops_counts_no_longer(watching: Watching) -> None:
    await watching.fleet.report(report("a", ReplicaState.SERVING, 2, serving=2))
    await watching.fleet.report(report("b", ReplicaState.SERVING, 2, serving=2))
    await watching.fleet.report(report("a", ReplicaState.STOPPED, 0))
    (left,) = await watching.fleet.replicas(CHAMPION, after=None, limit=10)
    assert left.replica_id == "b"
    assert (await watching.fleet.convergence(CHAMPION)).replica_count == 1


async def test_a_watching_replica_is_live_before_it_says_anything(watching: Watching) -> None:
    replica = Replica("r-1", "host", "pod-1")
    async with watching.watch(CHAMPION, replica=replica) as stream:
        await stream.initial()
        (seen,) = await watching.fleet.replicas(CHAMPION, after=None, limit=10)
    assert (seen.replica_id, seen.name, seen.state) == ("r-1", "pod-1", ReplicaState.WATCHING)


async def test_opening_a_watch_keeps_what_the_replica_last_said(watching: Watching) -> None:
    await watching.fleet.report(report("r-1", ReplicaState.SERVING, 2, serving=2))
    subscription = Subscription(references=(CHAMPION,), replica=Replica("r-1", "host", "pod-1"))
    async with watching.fleet.presence(subscription):
        (seen,) = await watching.fleet.replicas(None, after=None, limit=10)
    assert seen.state is ReplicaState.SERVING


async def test_a_watch_below_a_prefix_keeps_what_its_replica_says_there_live(
    watching: Watching,
) -> None:
    await watching.fleet.report(report("r-1", ReplicaState.SERVING, 2, serving=2))
    watching.registry.clock.time_us += LEASE_US - 1
    replica = Replica("r-1", "host", "pod")
    async with watching.watch(model_prefixes=("fraud/",), replica=replica) as stream:
        await stream.initial()
        watching.registry.clock.time_us += LEASE_US - 1
        (seen,) = await watching.fleet.replicas(CHAMPION, after=None, limit=10)
    assert seen.state is ReplicaState.SERVING


async def test_a_replica_that_watches_twice_is_live_until_the_second_watch_ends(
    watching: Watching,
) -> None:
    subscription = Subscription(references=(CHAMPION,), replica=Replica("r-1", "host", "pod-1"))
    async with watching.fleet.presence(subscription):
        async with watching.fleet.presence(subscription):
            pass
        assert list(watching.fleet._open.values()) == [1]
    assert not watching.fleet._open


async def test_a_replica_watches_while_the_database_takes_no_writes_and_is_live_afterwards(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(database=registry.database, clock=registry.clock, lease_seconds=0.1)
    hub = Hub(database=registry.database, fleet=fleet, max_watches=1)
    await registry.register()
    async with Watching(registry, hub, fleet).watch(
        MODEL, model_prefixes=("fraud/",), replica=Replica("r-1", "host", "pod")
    ) as stream:
        with monkeypatch.context() as full:
            full.setattr(registry.database, "bookkeep", refuse)
            assert len(await stream.initial()) == 1
        assert await fleet.replicas(MODEL, after=None, limit=10) == []
        renewing = asyncio.create_task(fleet.run())
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await fleet.replicas(MODEL, after=None, limit=10):
                pass
        renewing.cancel()
        await asyncio.wait({renewing})


def refuse(*, durable: bool) -> NoReturn:
    raise DatabaseUnavailable("The database's disk is full.")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"replica_id": ""}, "report.replica.id"),
        ({"replica_id": "r" * 201}, "report.replica.id"),
        ({"host": "h" * 257}, "report.replica.host"),
        ({"name": "a\0b"}, "report.replica.name"),
        ({"name": "a\x1b[2J"}, "report.replica.name"),
        ({"version": -1}, "report.version"),
        ({"serving_version": -1}, "report.serving_version"),
        ({"serving_digest": "d" * 257}, "report.serving_digest"),
        ({"failure": "f" * 4097}, "report.failure"),
    ],
)
async def test_a_report_out_of_bounds_is_refused(
    watching: Watching, changes: dict[str, Any], field: str
) -> None:
    said = replace(report("r-1", ReplicaState.SERVING, 2, serving=2), **changes)
    with pytest.raises(FieldInvalid) as caught:
        await watching.fleet.report(said)
    assert [violation.field for violation in caught.value.fields] == [field]
    assert await watching.fleet.replicas(None, after=None, limit=10) == []


async def test_nonsense_is_refused(watching: Watching) -> None:
    with pytest.raises(ReferenceInvalid):
        await watching.fleet.convergence("@@")


@pytest.mark.parametrize(
    "watch", [{"references": (CHAMPION,)}, {"model_prefixes": ("fraud/",)}], ids=["alias", "prefix"]
)
async def test_who_begins_to_watch_is_heard(registry: Registry, watch: dict[str, Any]) -> None:
    heard: set[Reference] = set()
    fleet = Fleet(database=registry.database, clock=registry.clock, on_heard=heard.update)
    await fleet.report(report("a", ReplicaState.SERVING, 1, serving=1))
    heard.clear()
    async with fleet.presence(Subscription(**watch, replica=Replica("a", "host", "pod"))):
        assert heard == {ByAlias(MODEL, "champion")}


async def test_a_server_that_comes_back_first_forgets_nothing_of_what_others_watch(
    registry: Registry,
) -> None:
    first, other = (Fleet(database=registry.database, clock=registry.clock) for _ in range(2))
    watch = Subscription(references=(CHAMPION,), replica=Replica("r-1", "host", "pod-1"))
    await other.report(report("r-1", ReplicaState.SERVING, 2, serving=2))
    async with other.presence(watch):
        registry.clock.time_us += 5 * LEASE_US
        await first.renew()
        assert await first.replicas(None, after=None, limit=10) == []
        await other.renew()
        (seen,) = await first.replicas(None, after=None, limit=10)
    assert (seen.state, seen.serving_version) == (ReplicaState.SERVING, 2)
    registry.clock.time_us += 1000 * LEASE_US
    await first.renew()
    async with registry.database.read() as records:
        assert await records.replicas.live(now_us=0, limit=10) == []


async def test_reports_and_leases_of_two_servers_do_not_lock_each_other_out(
    registry: Registry,
) -> None:
    one, other = (Fleet(database=registry.database, clock=registry.clock) for _ in range(2))
    replicas = [f"r{number:03}" for number in range(200)]
    serving = [report(replica, ReplicaState.SERVING, 1, serving=1) for replica in replicas]
    half = len(replicas) // 2
    stopping = [report(replica, ReplicaState.STOPPED, 1) for replica in replicas[:half]]
    for _ in range(5):
        await one._take(serving)
        registry.clock.time_us += 1
        leases = [(Replica(replica, "host", "pod"), CHAMPION) for replica in replicas]
        await asyncio.gather(one._take(stopping + serving[half:]), other._renew(leases))
