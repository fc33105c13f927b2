"""Says in the record how a move of an alias went in the fleet: once for each move."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Final

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.queries import All, Comparison, Field, Query
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import ByAlias, Reference
from herdbook_server.ports.values import Alias, Convergence, EventKind
from herdbook_server.registry.callers import UPKEEP
from herdbook_server.registry.writing import writing

logger = logging.getLogger(__name__)

_REASON_MAX_CHARACTERS: Final = 1000


class Announcer:
    """Looks how far aliases have reached the fleet, whenever replicas report of them.

    What is said is part of the record, unlike the reports: a pipeline and an audit find it among
    the events. Any number of servers may look; one says it. Belongs to one event loop.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        pause_seconds: float = 1.0,
        again_seconds: float = 10.0,
    ) -> None:
        """Prepare to look at most once in `pause_seconds`.

        An alias that has not reached everybody is looked at again after `again_seconds`, for
        replicas that are in the way may go without a word.
        """
        self._database = database
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._again_seconds = again_seconds
        self._noticed = asyncio.Event()
        self._due: set[ByAlias] = set()
        self._unsettled: set[ByAlias] = set()
        self._said: dict[tuple[EventKind, ByAlias], int] = {}
        """At which move of the alias each was said last."""

    def notice(self, references: Iterable[Reference]) -> None:
        """Have aliases looked at, of which replicas have reported."""
        self._due.update(each for each in references if isinstance(each, ByAlias))
        if self._due:
            self._noticed.set()

    async def run(self) -> None:
        """Look until cancelled; outlives outages of the database."""
        while True:
            try:
                async with asyncio.timeout(self._again_seconds if self._unsettled else None):
                    await self._noticed.wait()
            except TimeoutError:
                self._due |= self._unsettled
            self._noticed.clear()
            due, self._due = self._due, set()
            try:
                for reference in due:
                    await self._look(reference)
            except DatabaseUnavailable as error:
                logger.warning("What became of moved aliases was not looked at: %s", error)
                self._unsettled |= due
            await asyncio.sleep(self._pause_seconds)

    async def _look(self, reference: ByAlias) -> None:
        self._unsettled.discard(reference)
        async with self._database.read() as records:
            alias = await records.aliases.get(reference.model, reference.alias)
            if alias is None:
                return
            seen = await records.replicas.convergence(
                str(reference), alias.version, now_us=self._clock.now_us()
            )
        if seen.converged_count < seen.replica_count:
            self._unsettled.add(reference)
        for kind, reason in _outcomes(seen):
            if self._said.get((kind, reference)) != alias.revision:
                await self._say(kind, alias, reason)
                self._said[kind, reference] = alias.revision

    async def _say(self, kind: EventKind, alias: Alias, reason: str) -> None:
        async with writing(self._database, self._clock, caller=UPKEEP, reason=reason) as write:
            now = await write.records.aliases.get(alias.model, alias.alias)
            if now == alias and not await _is_said(write.records, kind, alias):
                write.note(kind, alias.model, version=alias.version, alias=alias.alias)


def _outcomes(seen: Convergence) -> Iterator[tuple[EventKind, str]]:
    if 0 < seen.converged_count == seen.replica_count:
        yield EventKind.FLEET_CONVERGED, f"Replicas that serve it: {seen.replica_count}."
    for first in seen.failures[:1]:
        who = first.name or first.host or first.replica_id
        yield EventKind.LOAD_FAILED, f"{who}: {first.failure}"[:_REASON_MAX_CHARACTERS]


async def _is_said(records: Records, kind: EventKind, alias: Alias) -> bool:
    """Whether another server has said it since the alias moved."""
    since = (
        Comparison(Field("kind"), "=", kind.value),
        Comparison(Field("alias"), "=", alias.alias),
        Comparison(Field("revision"), ">", alias.revision),
    )
    return bool((await records.events.search(Query(All(since), (), 1, model=alias.model))).items)
