"""Rows of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from herdbook_server.ports.queries import Found, Query
from herdbook_server.ports.values import Event, EventKind
from herdbook_server.storage.sql.connection import Connection, Row
from herdbook_server.storage.sql.fields import EVENTS
from herdbook_server.storage.sql.search import Search

COLUMNS = (
    "revision, position, kind, model, version, alias, from_value, to_value, actor, time_us, reason"
)

INSERT = f"""
    INSERT INTO events ({COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""

AFTER = f"SELECT {COLUMNS} FROM events WHERE revision > $1 ORDER BY revision, position LIMIT $2"

REST_OF_REVISION = f"""
    SELECT {COLUMNS} FROM events WHERE revision = $1 AND position > $2 ORDER BY position"""

KINDS = {kind.value: kind for kind in EventKind}


class EventRows:
    """Events in the order of their revisions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.added = False
        """Whether this transaction added any, without which it commits nothing."""

    async def add(self, events: Iterable[Event]) -> None:
        """See `ports.records.Events`."""
        rows = [to_row(event) for event in events]
        if rows:
            await self._connection.execute_many(INSERT, rows)
            self.added = True

    async def after(self, revision: int, *, limit: int) -> Sequence[Event]:
        """See `ports.records.Events`."""
        rows = list(await self._connection.fetch(AFTER, revision, limit))
        if len(rows) == limit:
            rows += await self._connection.fetch(REST_OF_REVISION, rows[-1][0], rows[-1][1])
        return [to_event(row) for row in rows]

    async def search(self, query: Query) -> Found[Event]:
        """See `ports.records.Events`."""
        search = Search(self._connection, EVENTS, query)
        hits, following = await search.run()
        rows = await search.rows(COLUMNS, list(dict.fromkeys(hit.key[0] for hit in hits)))
        found = {(row[0], row[1]): row for row in rows}
        return Found(tuple(to_event(found[hit.key[0], hit.key[1]]) for hit in hits), following)


def to_row(event: Event) -> tuple[str | int, ...]:
    """Return the parameters of an event's row."""
    return (
        event.revision,
        event.position,
        event.kind.value,
        event.model,
        event.version,
        event.alias,
        event.from_value,
        event.to_value,
        event.actor,
        event.time_us,
        event.reason,
    )


def to_event(row: Row) -> Event:
    """Return the event that a row holds."""
    revision, position, kind, *rest = row
    return Event(revision, position, KINDS.get(kind, EventKind.UNSPECIFIED), *rest)
