"""The statements that carry out the plans of searches.

Engines choose plans by what they know of how values are spread, which is little on SQLite, and on
PostgreSQL nothing before it has statistics. These statements leave them no choice: what drives the
search is materialised or walked along, rows are looked up by outer joins, which only go that way,
and conditions on them are wrapped, so that the joins stay outer ones and no other index is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from herdbook_server.ports.queries import Condition
from herdbook_server.storage.sql.conditions import (
    FALSE,
    TRUE,
    Conditions,
    Parameters,
    is_keyed,
)
from herdbook_server.storage.sql.connection import Value
from herdbook_server.storage.sql.drivers import Driver
from herdbook_server.storage.sql.fields import Column, Keyed, Source
from herdbook_server.storage.sql.ordering import Bound, Segment, Term
from herdbook_server.storage.sql.plans import COUNTED, Plan

BOUNDS = {"present": "IS NOT NULL", "absent": "IS NULL"}


@dataclass(frozen=True, slots=True)
class Statement:
    """Finds the keys of rows, with the values that the order goes by."""

    source: Source
    terms: tuple[Term, ...]
    conjuncts: tuple[Condition, ...]
    plan: Plan

    def write(
        self, parts: tuple[Segment, ...], *, limit: int, show_deleted: bool
    ) -> tuple[str, list[Value]]:
        """Return the text and the parameters that read some segments; none means everything.

        A plan in order reads one segment at a time.
        """
        parameters = Parameters()
        writer = Walker if self.plan.in_order else Sorter
        text = writer(self, parameters, parts).write(show_deleted)
        # A literal: as a parameter it would hide from PostgreSQL that few rows are wanted.
        return f"{text} LIMIT {limit}", parameters.values


class Writer:
    """What statements have in common."""

    def __init__(
        self, statement: Statement, parameters: Parameters, parts: tuple[Segment, ...]
    ) -> None:
        self.source = statement.source
        self.terms = statement.terms
        self.conjuncts = statement.conjuncts
        self.drivers = statement.plan.drivers
        self.parameters = parameters
        self.bind = parameters.bind
        self.parts = parts

    @property
    def key(self) -> str:
        """The key of a row, as the driver has it."""
        return f"v.{self.source.key[0]}"

    @property
    def conditions(self) -> Conditions:
        """Writes conditions on the row."""
        return Conditions(self.source, self.parameters, self.key)

    def row_of(self, term: Term) -> str:
        """Return the row that a term lies in."""
        if term.keyed is None:
            return "v"
        return f"k{self.fields_with_keys().index(term.field)}"

    def name(self, term: Term) -> str:
        """Return the column of a term."""
        return f"{self.row_of(term)}.{term.column}"

    def fields_with_keys(self) -> list[object]:
        """Return the fields of the order that lie in tables of their own."""
        return list(dict.fromkeys(term.field for term in self.terms if term.keyed))

    def columns(self) -> str:
        """Return what is selected: the key, the size, the terms."""
        keys = [f"v.{column}" for column in self.source.key]
        size = self.source.size if self.source.size == "0" else f"v.{self.source.size}"
        return ", ".join([*keys, size, *(self.name(term) for term in self.terms)])

    def joins(self) -> str:
        """Return the joins with the tables of the order that are not joined yet."""
        joins: dict[str, str] = {}
        for term in self.terms:
            row = self.row_of(term)
            if term.keyed and row.startswith("k") and row not in joins:
                owned = f"{row}.{term.keyed.owner} = {self.key}"
                key = f"{row}.key = {self.bind(term.field.key)}"
                joins[row] = f" LEFT JOIN {term.keyed.table} {row} ON {owned} AND {key}"
        return "".join(joins.values())

    def others(self, show_deleted: bool) -> tuple[list[str], list[str]]:  # noqa: FBT001 - passed on
        """Return the conditions that no driver settles: on the row's key, and on the row."""
        settled = {id(leaf) for driver in self.drivers for leaf in driver.replaces}
        by_key: list[str] = []
        by_row = [] if show_deleted else [self.source.alive]
        for part in self.conjuncts:
            if id(part) not in settled:
                place = by_key if is_keyed(self.source, part) else by_row
                place.append(self.conditions.write(part))
        return by_key, by_row

    def bound(self, bound: Bound) -> str:
        """Return what a segment says of a term."""
        term = self.terms[bound.term]
        name = self.name(term)
        if bound.kind in BOUNDS:
            return f"{name} {BOUNDS[bound.kind]}"
        operator = "=" if bound.kind == "equal" else "<" if term.descending else ">"
        return f"{name} {operator} {self.bind(bound.value)}"

    def order(self, terms: Sequence[Term]) -> str:
        """Return the order by some terms; rows without one come last."""
        keys: list[str] = []
        for term in terms:
            if term.nullable:
                keys.append(f"({self.name(term)} IS NULL)")
            keys.append(f"{self.name(term)} {'DESC' if term.descending else 'ASC'}")
        return f" ORDER BY {', '.join(keys)}"


def looked_up(conditions: Sequence[str]) -> list[str]:
    """Return conditions on rows that are looked up by their key, as one that drives nothing."""
    return [f"COALESCE({' AND '.join(conditions)}, {FALSE})"] if conditions else []


class Sorter(Writer):
    """Takes the rows that one driver yields, and sorts them."""

    @property
    def key(self) -> str:
        """See `Writer`."""
        return f"d.{self.source.key[0]}" if self.drivers else super().key

    def write(self, show_deleted: bool) -> str:  # noqa: FBT001 - passed on
        """Return the statement without its limit."""
        start = self.driver()
        joins = self.joins()
        by_key, by_row = self.others(show_deleted)
        if self.parts:
            by_row.append(f"({' OR '.join(self.segment(part) for part in self.parts)})")
        where = " AND ".join([*by_key, *looked_up(by_row)]) or TRUE
        return f"{start}{joins} WHERE {where}{self.order(self.terms)}"

    def driver(self) -> str:
        """Return how the statement begins, with the driver's rows."""
        table = f"{self.source.table} v"
        if not self.drivers:
            return f"SELECT {self.columns()} FROM {table}"
        rows = " UNION ".join(self.drivers[0].selects(self.source, self.parameters))
        joined = " AND ".join(f"v.{column} = d.{column}" for column in self.source.key)
        return (
            f"WITH d AS MATERIALIZED ({rows}) "
            f"SELECT {self.columns()} FROM d LEFT JOIN {table} ON {joined}"
        )

    def segment(self, part: Segment) -> str:
        """Return the condition of being in a segment."""
        return f"({' AND '.join(self.bound(bound) for bound in part) or FALSE})"


class Walker(Writer):
    """Walks along the index of a term, in the row `s`, and so has no need to sort."""

    def __init__(
        self, statement: Statement, parameters: Parameters, parts: tuple[Segment, ...]
    ) -> None:
        super().__init__(statement, parameters, parts)
        (self.part,) = parts
        absent = {bound.term for bound in self.part if bound.kind == "absent"}
        self.first = next(index for index in range(len(self.terms)) if index not in absent)
        self.lead = self.terms[self.first]

    @property
    def key(self) -> str:
        """See `Writer`."""
        return f"s.{self.lead.keyed.owner if self.lead.keyed else self.source.key[0]}"

    def row_of(self, term: Term) -> str:
        """Return the row that a term lies in."""
        if term.keyed is None and self.lead.keyed is None:
            return "s"
        if term.keyed and term.field == self.lead.field:
            return "s"
        return super().row_of(term)

    def write(self, show_deleted: bool) -> str:  # noqa: FBT001 - passed on
        """Return the statement without its limit."""
        joins = self.joins()
        wheres = self.walked()
        wheres += [text for driver in self.drivers for text in self.narrow(driver)]
        by_key, by_row = self.others(show_deleted)
        for bound in self.part:
            if not self.is_implied(bound):
                walked = self.row_of(self.terms[bound.term]) == "s"
                (wheres if walked else by_row).append(self.bound(bound))
        where = " AND ".join([*wheres, *by_key, *looked_up(by_row)]) or TRUE
        return f"{self.start()}{joins} WHERE {where}{self.order(self.varying())}"

    def start(self) -> str:
        """Return how the statement begins, with the rows that are walked along."""
        keyed = self.lead.keyed
        if keyed is None:
            joined = " AND ".join(f"v.{column} = s.{column}" for column in self.source.key)
        else:
            joined = f"v.{self.source.key[0]} = s.{keyed.owner}"
        walked = keyed.table if keyed else self.source.table
        return (
            f"SELECT {self.columns()} FROM {walked} s LEFT JOIN {self.source.table} v ON {joined}"
        )

    def walked(self) -> list[str]:
        """Return the condition of lying along the walk, if no driver says more."""
        if self.lead.keyed is None or any(one.field == self.lead.field for one in self.drivers):
            return []
        return [f"s.key = {self.bind(self.lead.field.key)}"]

    def narrow(self, driver: Driver) -> list[str]:
        """Return the conditions that narrow the walk."""
        texts: list[str] = []
        for leaf in driver.alternatives[0]:
            place = self.source.fields[leaf.field.name]
            if isinstance(place, Column):
                texts.append(self.conditions.of_column(f"s.{place.name}", place, leaf))
            elif isinstance(place, Keyed):
                texts.append(self.conditions.of_keyed(place, leaf, row="s"))
        return texts

    def is_implied(self, bound: Bound) -> bool:
        """Tell whether a bound holds for every row of the walk."""
        return bound.kind == "present" and self.lead.keyed is not None and bound.term == self.first

    def varying(self) -> Sequence[Term]:
        """Return the terms that vary in the segment, of which the first is never absent."""
        fixed = {bound.term for bound in self.part if bound.kind in {"equal", "absent"}}
        first, *others = (term for index, term in enumerate(self.terms) if index not in fixed)
        return [replace(first, nullable=False), *others]


def count_statement(source: Source, drivers: Sequence[Driver]) -> tuple[str, list[Value]]:
    """Return the statement that counts all rows, and up to a bound those of each driver."""
    parameters = Parameters()
    counts = [source.total]
    for driver in drivers:
        selects = driver.selects(source, parameters)
        limited = (f"(SELECT count(*) FROM ({select} LIMIT {COUNTED}) AS n)" for select in selects)
        counts.append(f"({' + '.join(limited)})")
    return f"SELECT {', '.join(counts)}", parameters.values
