"""Conditions of searches as SQL.

Every condition is true or false, never NULL, so that NOT means what it says. Trees are as deep as
filters are: negations are pushed to the leaves, and of several conditions the deepest comes first,
since SQLite's parser keeps what stands open to the left of it on a stack of a hundred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from herdbook_server.ports.queries import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Not,
    Operator,
    Presence,
    Scalar,
)
from herdbook_server.storage.sql.connection import Value
from herdbook_server.storage.sql.fields import Column, Keyed, Kind, Members, Source
from herdbook_server.storage.sql.texts import HEAD, after_prefix, split

TRUE, FALSE = "1 = 1", "1 = 0"

INT_MAX = 2**63 - 1

NEGATIONS = {True: "NOT ", False: ""}


@dataclass(slots=True)
class Parameters:
    """The parameters of a statement as it grows."""

    values: list[Value] = field(default_factory=list)

    def bind(self, value: Value) -> str:
        """Add a parameter; return its place."""
        self.values.append(value)
        return f"${len(self.values)}"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Writes conditions on the row `v` of a source."""

    source: Source
    parameters: Parameters
    key: str = ""
    """The row's key, as whatever drives the search has it: before the row itself is read."""

    def write(self, condition: Condition) -> str:
        """Return the condition as SQL."""
        return self._write(condition, negated=False)[0]

    def _write(self, condition: Condition, *, negated: bool) -> tuple[str, int]:
        """Return SQL, and how deeply it is nested."""
        match condition:
            case Not(inner):
                return self._write(inner, negated=not negated)
            case All(parts):
                return self._join(parts, negated=negated, word="OR" if negated else "AND")
            case AnyOf(parts):
                return self._join(parts, negated=negated, word="AND" if negated else "OR")
            case _:
                return f"{NEGATIONS[negated]}({self.leaf(condition)})", 1

    def _join(self, parts: Sequence[Condition], *, negated: bool, word: str) -> tuple[str, int]:
        if not parts:
            return (TRUE if word == "AND" else FALSE), 1
        written = [self._write(part, negated=negated) for part in parts]
        written.sort(key=lambda text_and_depth: -text_and_depth[1])
        texts = [text for text, _ in written]
        return f"({balanced(texts, word)})", written[0][1] + 1

    def leaf(self, condition: Comparison | Presence) -> str:
        """Return a comparison or a presence as SQL."""
        place = self.source.fields[condition.field.name]
        match place:
            case Column():
                return self.of_column(f"v.{place.name}", place, condition)
            case Keyed():
                inner = self.of_keyed(place, condition)
                owned = f"x.{place.owner} = {self.key}"
            case _:
                inner = self.of_members(place, condition)
                owned = " AND ".join(f"x.{inside} = v.{out}" for inside, out in place.joined)
        # An offset keeps PostgreSQL from making a join of it: one look-up for each candidate row.
        select = f"SELECT 1 FROM {place.table} x WHERE {owned} AND {inner}"
        return f"EXISTS ({select} LIMIT 1 OFFSET 0)"

    def of_column(self, name: str, column: Column, condition: Comparison | Presence) -> str:
        """Return a condition on a column."""
        if isinstance(condition, Presence):
            parts = [f"{name} IS NOT NULL"] if column.nullable else []
            parts += [f"{name} <> ''"] if column.kind == "text" else []
            return " AND ".join(parts) or TRUE
        text = compare(self.parameters, name, column.kind, condition)
        return f"{name} IS NOT NULL AND {text}" if column.nullable else text

    def of_keyed(self, place: Keyed, condition: Comparison | Presence, *, row: str = "x") -> str:
        """Return a condition on a row of a table of keys."""
        key = f"{row}.key = {self.parameters.bind(condition.field.key)}"
        if isinstance(condition, Presence):
            return f"{key} AND {row}.head <> ''" if place.kind == "text" else key
        if place.kind == "real":
            return f"{key} AND {compare(self.parameters, f'{row}.value', 'real', condition)}"
        operator, value = condition.operator, str(condition.value)
        return f"{key} AND {compare_split(self.parameters, row, operator, value)}"

    def of_members(self, place: Members, condition: Comparison | Presence) -> str:
        """Return a condition on the row `x` of a table of members."""
        if isinstance(condition, Presence):
            return TRUE
        if condition.operator == "has":
            condition = replace(condition, operator="=")
        return compare(self.parameters, f"x.{place.value}", "text", condition)


def is_keyed(source: Source, condition: Condition) -> bool:
    """Tell whether a condition is about fields with keys alone, and so about no row of `v`."""
    match condition:
        case Not(inner):
            return is_keyed(source, inner)
        case All(parts) | AnyOf(parts):
            return all(is_keyed(source, part) for part in parts)
        case _:
            return isinstance(source.fields[condition.field.name], Keyed)


def balanced(texts: Sequence[str], word: str) -> str:
    """Join texts in a balanced tree, as engines bound the depth of an expression."""
    if len(texts) <= 64:  # noqa: PLR2004 - a chain that no engine minds
        return f" {word} ".join(texts)
    middle = len(texts) // 2
    return f"({balanced(texts[:middle], word)}) {word} ({balanced(texts[middle:], word)})"


def compare(parameters: Parameters, name: str, kind: Kind, comparison: Comparison) -> str:
    """Return a comparison of a column that is not NULL with a value."""
    operator, value = comparison.operator, comparison.value
    if kind == "integer":
        return compare_integer(parameters, name, operator, value)
    if kind == "real":
        return f"{name} {sql_operator(operator)} {parameters.bind(to_float(value))}"
    if operator == "prefix":
        return in_range(parameters, name, str(value))
    return f"{name} {sql_operator(operator)} {parameters.bind(str(value))}"


def sql_operator(operator: Operator) -> str:
    """Return the operator as SQL spells it."""
    return "<>" if operator == "!=" else operator


def to_float(value: Scalar) -> float:
    """Return the value as a double; integers beyond all doubles become infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if isinstance(value, int) and value > 0 else -math.inf


def compare_integer(parameters: Parameters, name: str, operator: Operator, value: Scalar) -> str:
    """Return a comparison of a column of integers with a number that may be none."""
    number = value if isinstance(value, int) else to_float(value)
    if isinstance(number, float) and math.isfinite(number) and number.is_integer():
        number = int(number)
    if number > INT_MAX or number < -INT_MAX:
        above = number > 0
        holds = operator == "!=" or (operator in {"<", "<="} if above else operator in {">", ">="})
        return TRUE if holds else FALSE
    if isinstance(number, int):
        return f"{name} {sql_operator(operator)} {parameters.bind(number)}"
    if operator in {"=", "!="}:
        return TRUE if operator == "!=" else FALSE
    below = operator in {"<", "<="}
    bound = math.floor(number)
    return f"{name} {'<=' if below else '>'} {parameters.bind(bound)}"


def in_range(parameters: Parameters, name: str, prefix: str) -> str:
    """Return the condition that a text starts with a prefix, as a range of its index."""
    end = after_prefix(prefix)
    start = f"{name} >= {parameters.bind(prefix)}"
    return start if end is None else f"{start} AND {name} < {parameters.bind(end)}"


def compare_split(parameters: Parameters, row: str, operator: Operator, value: str) -> str:
    """Return a comparison of a row that holds a text as head and rest with a value."""
    head, rest = split(value)
    bind = parameters.bind
    if operator == "prefix":
        if len(value) <= HEAD:
            return in_range(parameters, f"{row}.head", value)
        return f"{row}.head = {bind(head)} AND {in_range(parameters, f'{row}.rest', rest)}"
    if operator == "=":
        equal = f"{row}.head = {bind(head)}"
        # A head that is not full has no rest; without it the index alone has the answer.
        return equal if len(head) < HEAD else f"{equal} AND {row}.rest = {bind(rest)}"
    if operator == "!=":
        return f"({row}.head <> {bind(head)} OR {row}.rest <> {bind(rest)})"
    strict, place = operator[0], bind(head)
    return (
        f"{row}.head {strict}= {place} AND "
        f"({row}.head {strict} {place} OR {row}.rest {operator} {bind(rest)})"
    )
