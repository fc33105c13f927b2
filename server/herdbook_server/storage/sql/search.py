"""Searches that cost index look-ups, with the same plan on both engines.

A search is driven by one index, and every other condition is looked up for each row that it
yields. Either the rows come in the order asked for and the search stops when its page is full, or
they come from the most selective condition and are sorted. Which is cheaper is judged by how many
rows the conditions match, counted up to a bound.

A page after the first continues where the last one ended. A position in an order by a, b, c is
left by growing c, then b, then a: each of these is a segment, a range of an index, and segments
are read one after the other until the page is full. So are rows without the first sort key, which
come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from herdbook_server.ports.queries import (
    All,
    Comparison,
    Condition,
    Field,
    Position,
    Presence,
    Query,
    Scalar,
)
from herdbook_server.storage.sql.connection import Connection, Row, padded, pages, places
from herdbook_server.storage.sql.drivers import drivers_of
from herdbook_server.storage.sql.fields import Source
from herdbook_server.storage.sql.ordering import (
    Segment,
    effective_order,
    segments,
    to_position,
    to_terms,
    to_values,
)
from herdbook_server.storage.sql.plans import Plan, Walk, cheapest
from herdbook_server.storage.sql.search_statements import Statement, count_statement


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found."""

    key: tuple[Any, ...]
    size_bytes: int
    position: Position


class Search:
    """One page of a search."""

    def __init__(self, connection: Connection, source: Source, query: Query) -> None:
        self._connection = connection
        self._source = source
        self._conjuncts = conjuncts_of(query)
        self._show_deleted = query.show_deleted
        self._limit = query.limit
        self._order = effective_order(source, query)
        self._terms = to_terms(source, self._order, present=surely_present(self._conjuncts))
        self._after = (
            None if query.after is None else to_values(self._terms, self._order, query.after)
        )

    async def run(self) -> tuple[Sequence[Hit], Position | None]:
        """Return the rows of the page, and where the next one starts if there is one.

        Raises:
            SearchTooLong: It would take too long.
        """
        async with self._connection.searching():
            hits = [self._to_hit(row) for row in await self._fetch(self._limit + 1)]
        if len(hits) <= self._limit:
            return hits, None
        return hits[: self._limit], hits[self._limit - 1].position

    async def rows(self, columns: str, keys: Sequence[Scalar]) -> Sequence[Row]:
        """Return the columns of the rows with these keys, in any order."""
        rows: list[Row] = []
        for page in pages(keys):
            wanted = padded(page)
            sql = (
                f"SELECT {columns} FROM {self._source.table} "
                f"WHERE {self._source.key[0]} IN ({places(len(wanted))})"
            )
            rows += await self._connection.fetch(sql, *wanted)
        return rows

    async def _fetch(self, limit: int) -> Sequence[Row]:
        plan = await self._choose(limit)
        rows: list[Row] = []
        for part in self._parts(plan):
            statement = Statement(self._source, self._terms, self._conjuncts, plan)
            sql, values = statement.write(
                part, limit=limit - len(rows), show_deleted=self._show_deleted
            )
            rows += await self._connection.fetch(sql, *values)
            if len(rows) == limit:
                break
        return rows

    def _parts(self, plan: Plan) -> Sequence[tuple[Segment, ...]]:
        """Return the segments to read one by one, or all of them at once if they are sorted."""
        if plan.in_order:
            return [(segment,) for segment in segments(self._terms, self._after)]
        return [() if self._after is None else tuple(segments(self._terms, self._after))]

    async def _choose(self, limit: int) -> Plan:
        drivers = drivers_of(self._source, self._conjuncts)
        walk = Walk.along(self._source, self._terms)
        if not drivers or (walk is not None and walk.follows(drivers)):
            return Plan(in_order=walk is not None, drivers=tuple(drivers))
        sql, values = count_statement(self._source, drivers)
        total, *counts = await self._connection.fetch_one(sql, *values) or (0,)
        matches = dict(zip(drivers, counts, strict=True))
        return cheapest(walk, matches, total=total, limit=limit)

    def _to_hit(self, row: Row) -> Hit:
        width = len(self._source.key)
        return Hit(tuple(row[:width]), row[width], to_position(self._terms, row[width + 1 :]))


def conjuncts_of(query: Query) -> tuple[Condition, ...]:
    """Return the conditions that all have to hold."""
    conditions: list[Condition] = []
    if query.model is not None:
        conditions.append(Comparison(Field("model"), "=", query.model))
    pending = [] if query.where is None else [query.where]
    while pending:
        condition = pending.pop(0)
        if isinstance(condition, All):
            pending = [*condition.conditions, *pending]
        else:
            conditions.append(condition)
    return tuple(conditions)


def surely_present(conjuncts: Sequence[Condition]) -> frozenset[Field]:
    """Return the fields that no row lacks which meets all the conditions."""
    return frozenset(
        condition.field for condition in conjuncts if isinstance(condition, Comparison | Presence)
    )
