"""The statements that carry out the plans of searches.

`CROSS JOIN` and `MATERIALIZED` keep SQLite, which knows little of how values are spread, to the
plan; PostgreSQL finds it by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from herdbook_server.ports.queries import Condition
from herdbook_server.storage.sql.conditions import FALSE, TRUE, Conditions, Parameters
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
                owned = f"{row}.{term.keyed.owner} = v.{self.source.key[0]}"
                key = f"{row}.key = {self.bind(term.field.key)}"
                joins[row] = f" LEFT JOIN {term.keyed.table} {row} ON {owned} AND {key}"
        return "".join(joins.values())

    def others(self, show_deleted: bool) -> list[str]:  # noqa: FBT001 - passed through
        """Return the conditions that the plan's drivers do not settle."""
        settled = {id(leaf) for driver in self.drivers for leaf in driver.replaces}
        others = [] if show_deleted else [self.source.alive]
        rest = (part for part in self.conjuncts if id(part) not in settled)
        return others + [self.conditions.write(part) for part in rest]

    def bound(self, bound: Bound) -> str:
        """Return what a segment says of a term."""
        term = self.terms[bound.term]
        if bound.kind in BOUNDS:
            return f"{self.name(term)} {BOUNDS[bound.kind]}"
        operator = "=" if bound.kind == "equal" else "<" if term.descending else ">"
        return f"{self.name(term)} {operator} {self.bind(bound.value)}"

    def order(self, terms: Sequence[Term]) -> str:
        """Return the order by some terms; rows without one come last."""
        keys: list[str] = []
        for term in terms:
            if term.nullable:
                keys.append(f"({self.name(term)} IS NULL)")
            keys.append(f"{self.name(term)} {'DESC' if term.descending else 'ASC'}")
        return f" ORDER BY {', '.join(keys)}"


class Sorter(Writer):
    """Takes the rows that one driver yields, and sorts them."""

    @property
    def key(self) -> str:
        """See `Writer`."""
        return f"d.{self.source.key[0]}" if self.drivers else super().key

    def write(self, show_deleted: bool) -> str:  # noqa: FBT001 - passed through
        """Return the statement without its limit."""
        start, wheres = self.driver()
        joins = self.joins()
        wheres += self.others(show_deleted)
        if self.parts:
            wheres.append(f"({' OR '.join(self.segment(part) for part in self.parts)})")
        where = " AND ".join(wheres) or TRUE
        return f"{start}{joins} WHERE {where}{self.order(self.terms)}"

    def driver(self) -> tuple[str, list[str]]:
        """Return how the statement begins, and how the driver's rows are joined."""
        table = f"{self.source.table} v"
        if not self.drivers:
            return f"SELECT {self.columns()} FROM {table}", []
        selects = self.drivers[0].selects(self.source, self.parameters)
        rows = " UNION ".join(selects)
        joined = [f"v.{column} = d.{column}" for column in self.source.key]
        return (
            f"WITH d AS MATERIALIZED ({rows}) SELECT {self.columns()} FROM d CROSS JOIN {table}"
        ), joined

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

    def write(self, show_deleted: bool) -> str:  # noqa: FBT001 - passed through
        """Return the statement without its limit."""
        table, wheres = self.walked()
        joins = self.joins()
        wheres += [text for driver in self.drivers for text in self.narrow(driver)]
        wheres += [self.bound(bound) for bound in self.part if not self.is_implied(bound)]
        wheres += self.others(show_deleted)
        start = f"SELECT {self.columns()} FROM {table} s CROSS JOIN {self.source.table} v"
        return f"{start}{joins} WHERE {' AND '.join(wheres)}{self.order(self.varying())}"

    def walked(self) -> tuple[str, list[str]]:
        """Return the table to walk along, and how it is joined."""
        if self.lead.keyed is None:
            return self.source.table, [f"v.{column} = s.{column}" for column in self.source.key]
        key = f"s.key = {self.bind(self.lead.field.key)}"
        return self.lead.keyed.table, [f"v.{self.source.key[0]} = s.{self.lead.keyed.owner}", key]

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
