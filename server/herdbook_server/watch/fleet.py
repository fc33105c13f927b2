"""The fleet: what each replica does with the references it watches.

A replica is live while it holds a watch open on any server, and for a lease after that, so that it
may change servers unnoticed; or until it says that it stops. Reports are no part of the record.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

from herdbook_server.errors import DatabaseUnavailable, FieldInvalid
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.references import Reference
from herdbook_server.ports.values import Convergence, ReplicaReport, ReplicaState
from herdbook_server.registry import rules
from herdbook_server.registry.references import parse_reference
from herdbook_server.watch.gathering import Gathering
from herdbook_server.watch.resolving import look_up
from herdbook_server.watch.values import Replica, Subscription

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30.0
"""How long a replica stays live that no server hears of."""

_KEPT_US = 600 * 1_000_000
"""How long a lease that ran out can be renewed with what its replica said.

After an outage of the database each server renews those of its own watches, one server after the
other. Watches that were silent for longer than this were given up, and replicas repeat what they
say with new ones.
"""

ID_MAX_CHARACTERS = 200
TEXT_MAX_CHARACTERS = 256
FAILURE_MAX_BYTES = 4096


class Fleet:
    """Keeps reports and leases of replicas."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        lease_seconds: float = LEASE_SECONDS,
        on_heard: Callable[[Iterable[Reference]], None] | None = None,
    ) -> None:
        """Prepare to keep them; `on_heard` is given what replicas begin to watch, or report of."""
        self._database = database
        self._clock = clock
        self._lease_us = int(lease_seconds * 1_000_000)
        self._open: Counter[tuple[Replica, str]] = Counter()
        """Watches by replica and reference."""
        self._open_below: Counter[tuple[Replica, str]] = Counter()
        """Watches by replica and prefix of models."""
        self._on_heard = on_heard
        self._counts: Mapping[str, int] = {}
        self._renewals = Gathering(self._renew)
        self._renewals_below = Gathering(self._begin_below)
        self._reports = Gathering(self._take)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many references live replicas had in each state, on any server, a moment ago."""
        return {
            state.value: self._counts.get(state.value, 0)
            for state in ReplicaState
            if state is not ReplicaState.STOPPED
        }

    async def run(self) -> None:
        """Renews the leases of open watches until cancelled; outlives outages of the database."""
        while True:
            await asyncio.sleep(self._lease_us / 3_000_000)
            try:
                await self.renew()
            except DatabaseUnavailable as error:
                logger.warning("Replica leases were not renewed: %s", error)

    async def renew(self) -> None:
        """Renews the leases of open watches, forgets replicas that are long gone, and counts."""
        await self._renew(list(self._open))
        await self._renew_below(list(self._open_below))
        async with self._database.bookkeep(durable=False) as records:
            await records.replicas.forget_before(self._clock.now_us() - _KEPT_US)
        await self._count()

    @asynccontextmanager
    async def presence(self, subscription: Subscription) -> AsyncIterator[None]:
        """Keeps a watching replica live for the length of the block.

        Below a prefix, what it has said of a reference stays live; before that it counts nowhere.
        While the database cannot be written, it is not live, which is no reason not to watch.
        """
        replica = subscription.replica
        if replica is None:
            yield
            return
        watched = {str(parse_reference(text)) for text in subscription.references}
        keys = [(replica, reference) for reference in sorted(watched)]
        below = [(replica, prefix) for prefix in sorted(set(subscription.model_prefixes))]
        try:
            await self._renewals.write(keys)
            await self._renewals_below.write(below)
        except DatabaseUnavailable as error:
            logger.warning("A replica's lease waits for the database: %s", error)
        self._heard(watched)
        with _counted(self._open, keys), _counted(self._open_below, below):
            yield

    async def report(self, report: ReplicaReport) -> None:
        """Takes what a replica says of a reference.

        Replaces what it said before and extends its lease; one that stops is forgotten. Raises
        FieldInvalid.
        """
        _check_report(report)
        await self._reports.write([report])

    async def convergence(self, reference: str) -> Convergence:
        """Counts the live replicas that watch a reference, against what it names now.

        Raises ReferenceInvalid.
        """
        meaning = parse_reference(reference)
        async with self._database.read() as records:
            resolution = (await look_up(records, [meaning]))[meaning].resolution
            target = resolution.version if resolution else 0
            now_us = self._clock.now_us()
            return await records.replicas.convergence(str(meaning), target, now_us=now_us)

    async def replicas(
        self, reference: str | None, *, after: tuple[str, str] | None, limit: int
    ) -> Sequence[ReplicaReport]:
        """A page of live replicas, by id, then reference. Raises ReferenceInvalid."""
        canonical = None if reference is None else str(parse_reference(reference))
        async with self._database.read() as records:
            return await records.replicas.live(
                now_us=self._clock.now_us(), reference=canonical, after=after, limit=limit
            )

    async def _count(self) -> None:
        async with self._database.read() as records:
            self._counts = await records.replicas.count_by_state(now_us=self._clock.now_us())

    async def _take(self, reports: Sequence[ReplicaReport]) -> None:
        """Stores of each replica and reference what was said last."""
        latest = {(report.replica_id, report.reference): report for report in reports}
        stopped = [key for key, said in latest.items() if said.state is ReplicaState.STOPPED]
        async with self._database.bookkeep(durable=False) as records:
            # All rows once, in order: what goes over rows twice can meet others half-way.
            await records.replicas.put(latest.values(), expires_at_us=self._expiry())
            await records.replicas.forget(stopped)
        self._heard(reference for _, reference in latest)

    def _heard(self, references: Iterable[str]) -> None:
        if self._on_heard is not None:
            self._on_heard({parse_reference(reference) for reference in references})

    async def _renew(self, keys: Sequence[tuple[Replica, str]]) -> None:
        if not keys:
            return
        replicas = {(replica.id, reference): replica for replica, reference in keys}
        async with self._database.bookkeep(durable=False) as records:
            unknown = await records.replicas.renew(sorted(replicas), expires_at_us=self._expiry())
        if unknown:
            newcomers = [self._newcomer(replicas[key], key[1]) for key in unknown]
            # In a transaction of its own, or it could meet others half-way.
            async with self._database.bookkeep(durable=False) as records:
                await records.replicas.add(newcomers, expires_at_us=self._expiry())

    async def _begin_below(self, keys: Sequence[tuple[Replica, str]]) -> None:
        self._heard(await self._renew_below(keys))

    async def _renew_below(self, keys: Sequence[tuple[Replica, str]]) -> Iterable[str]:
        """Returns the references that the replicas have said something of."""
        if not keys:
            return ()
        wanted = [(replica.id, prefix) for replica, prefix in keys]
        async with self._database.bookkeep(durable=False) as records:
            return await records.replicas.renew_below(wanted, expires_at_us=self._expiry())

    def _newcomer(self, replica: Replica, reference: str) -> ReplicaReport:
        return ReplicaReport(
            replica_id=replica.id,
            host=replica.host,
            name=replica.name,
            reference=reference,
            state=ReplicaState.WATCHING,
            version=0,
            serving_version=0,
            serving_digest="",
            failure="",
            reported_at_us=self._clock.now_us(),
            model=parse_reference(reference).model,
        )

    def _expiry(self) -> int:
        return self._clock.now_us() + self._lease_us


def check_replica(replica: Replica, *, field: str = "replica") -> None:
    """Who watches or reports. Raises FieldInvalid."""
    if not replica.id:
        raise rules.refuse(FieldInvalid, f"{field}.id", "An id is required.")
    rules.check_line(replica.id, field=f"{field}.id", limit=ID_MAX_CHARACTERS)
    rules.check_line(replica.host, field=f"{field}.host", limit=TEXT_MAX_CHARACTERS)
    rules.check_line(replica.name, field=f"{field}.name", limit=TEXT_MAX_CHARACTERS)


def _check_report(report: ReplicaReport) -> None:
    replica = Replica(report.replica_id, report.host, report.name)
    check_replica(replica, field="report.replica")
    for name, number in (("version", report.version), ("serving_version", report.serving_version)):
        if number < 0:
            raise rules.refuse(FieldInvalid, f"report.{name}", f"{number} is no version's number.")
    digest = report.serving_digest
    rules.check_characters(digest, field="report.serving_digest", limit=TEXT_MAX_CHARACTERS)
    rules.check_bytes(report.failure, field="report.failure", limit_bytes=FAILURE_MAX_BYTES)


@contextmanager
def _counted(
    counts: Counter[tuple[Replica, str]], keys: Sequence[tuple[Replica, str]]
) -> Iterator[None]:
    """Count keys for the length of the block, at no cost for those of others."""
    counts.update(keys)
    try:
        yield
    finally:
        for key in keys:
            counts[key] -= 1
            if not counts[key]:
                del counts[key]
