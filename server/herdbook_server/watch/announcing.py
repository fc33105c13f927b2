"""Says in the record how moves of aliases went in the fleet: at most once for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.queries import All, Comparison, Field, Query
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import ByAlias, Reference
from herdbook_server.ports.values import Alias, Convergence, Event, EventKind
from herdbook_server.registry.callers import UPKEEP
from herdbook_server.registry.writing import writing
from herdbook_server.watch.fleet import LEASE_SECONDS
from herdbook_server.watch.resolving import look_up

logger = logging.getLogger(__name__)

_REASON_MAX_CHARACTERS: Final = 1000

_ABSENCES: Final = 10
"""Looks that may find no live replica: after an outage, leases are renewed one by one."""


@dataclass(slots=True)
class _Move:
    """The last move of an alias, and what is known of it."""

    revision: int
    whole_since_us: int | None = None
    """Since when every look has found that all replicas serve it."""
    absences: int = 0
    """How many looks in a row have found no live replica."""
    said: set[EventKind] = field(default_factory=set)

    def outcomes(
        self, seen: Convergence, *, now_us: int, held_us: int
    ) -> Iterator[tuple[EventKind, str]]:
        self.absences = 0 if seen.replica_count else self.absences + 1
        if not 0 < seen.converged_count == seen.replica_count:
            self.whole_since_us = None
        elif self.whole_since_us is None:
            self.whole_since_us = now_us
        if self.whole_since_us is not None and now_us - self.whole_since_us >= held_us:
            yield EventKind.FLEET_CONVERGED, f"Replicas that serve it: {seen.replica_count}."
        for one in seen.failures[:1]:
            who = one.name or one.host or one.replica_id
            yield EventKind.LOAD_FAILED, f"{who}: {one.failure}"[:_REASON_MAX_CHARACTERS]


class Announcer:
    """Looks how far aliases have reached the fleet, when they move and when replicas are heard.

    What is said is part of the record, unlike the reports: a pipeline and an audit find it among
    the events. Any number of servers may look; one says it. Belongs to one event loop.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        held_seconds: float = LEASE_SECONDS,
        pause_seconds: float = 1.0,
        again_seconds: float = 10.0,
    ) -> None:
        """Prepare to look `pause_seconds` after something was heard.

        An alias is looked at again every `again_seconds` until all replicas have served it for
        `held_seconds`. Those are a lease, for after an outage replicas come back one by one, and
        one that is gone may leave without a word.
        """
        self._database = database
        self._clock = clock
        self._held_us = int(held_seconds * 1_000_000)
        self._pause_seconds = pause_seconds
        self._again_seconds = again_seconds
        self._again_at = 0.0
        self._noticed = asyncio.Event()
        self._due: set[ByAlias] = set()
        self._moves: dict[ByAlias, _Move] = {}
        """Of those that are unsettled."""
        self._unsettled: set[ByAlias] = set()

    def follow(self, events: Sequence[Event]) -> None:
        """Have aliases looked at that have moved."""
        moved = [event for event in events if event.kind is EventKind.ALIAS_SET]
        self.notice(ByAlias(event.model, event.alias) for event in moved)

    def notice(self, references: Iterable[Reference]) -> None:
        """Have aliases looked at that replicas have reported of, or have begun to watch here.

        The server that they were at before may have known of a move, and be gone.
        """
        self._due.update(each for each in references if isinstance(each, ByAlias))
        if self._due:
            self._noticed.set()

    async def run(self) -> None:
        """Look until cancelled; outlives outages of the database."""
        while True:
            await self._until_due()
            # What has moved is about to be told, and what is reported of it comes in bursts.
            await asyncio.sleep(self._pause_seconds)
            try:
                await self._look_at_due()
            except DatabaseUnavailable as error:
                logger.warning("What became of moved aliases was not looked at: %s", error)

    async def _until_due(self) -> None:
        time = asyncio.get_running_loop().time
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._again_at if self._unsettled else None):
                await self._noticed.wait()
        self._noticed.clear()
        if time() >= self._again_at:
            self._again_at = time() + self._again_seconds
            self._due |= self._unsettled

    async def _look_at_due(self) -> None:
        """Look at what is due now, and at nothing that falls due meanwhile."""
        due, self._due = self._due, set()
        # What is not looked at to the end now is so later.
        self._unsettled |= due
        for reference in due:
            await self._look(reference)

    async def _look(self, reference: ByAlias) -> None:
        now_us = self._clock.now_us()
        async with self._database.read() as records:
            alias = await _present(records, reference)
            target = 0 if alias is None else alias.version
            seen = await records.replicas.convergence(str(reference), target, now_us=now_us)
        if alias is None:
            self._forget(reference)
            return
        move = self._move(reference, alias)
        for kind, reason in move.outcomes(seen, now_us=now_us, held_us=self._held_us):
            if kind not in move.said:
                await self._say(kind, reference, alias, reason)
                move.said.add(kind)
        if EventKind.FLEET_CONVERGED in move.said or move.absences > _ABSENCES:
            self._forget(reference)

    def _forget(self, reference: ByAlias) -> None:
        self._moves.pop(reference, None)
        self._unsettled.discard(reference)

    def _move(self, reference: ByAlias, alias: Alias) -> _Move:
        move = self._moves.get(reference)
        if move is None or move.revision != alias.revision:
            move = self._moves[reference] = _Move(alias.revision)
        return move

    async def _say(self, kind: EventKind, reference: ByAlias, alias: Alias, reason: str) -> None:
        async with self._database.read() as records:
            if await _is_said(records, kind, alias):
                # Writes take turns: none for nothing.
                return
        async with writing(self._database, self._clock, caller=UPKEEP, reason=reason) as write:
            present = await _present(write.records, reference)
            if present == alias and not await _is_said(write.records, kind, alias):
                write.note(kind, alias.model, version=alias.version, alias=alias.alias)


async def _present(records: Records, reference: ByAlias) -> Alias | None:
    """Return an alias that names a version, as it does not while its model is deleted."""
    naming = (await look_up(records, [reference]))[reference]
    if naming.resolution is None:
        return None
    return await records.aliases.get(reference.model, reference.alias)


async def _is_said(records: Records, kind: EventKind, alias: Alias) -> bool:
    """Whether another server has said it since the alias moved."""
    since = (
        Comparison(Field("kind"), "=", kind.value),
        Comparison(Field("alias"), "=", alias.alias),
        Comparison(Field("revision"), ">", alias.revision),
    )
    return bool((await records.events.search(Query(All(since), (), 1, model=alias.model))).items)
