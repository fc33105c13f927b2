"""Conditions that an index can answer, and so drive a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from herdbook_server.ports.queries import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Field,
    Presence,
)
from herdbook_server.storage.sql.conditions import Conditions, Parameters
from herdbook_server.storage.sql.fields import Column, Keyed, Members, Source

Leaf = Comparison | Presence


@dataclass(frozen=True, slots=True)
class Driver:
    """Conditions that together are a range of an index, or a union of such ranges."""

    alternatives: tuple[tuple[Leaf, ...], ...]
    """Conditions on one field that all hold; any of several such groups."""
    replaces: tuple[Condition, ...]
    """What need not be looked at again for the rows that it yields."""

    @property
    def field(self) -> Field | None:
        """The field that it is about, if it is one only."""
        return self.alternatives[0][0].field if len(self.alternatives) == 1 else None

    @property
    def is_equality(self) -> bool:
        """Whether it picks one value of a field."""
        if len(self.alternatives) > 1:
            return False
        leaves = self.alternatives[0]
        return any(isinstance(leaf, Comparison) and leaf.operator == "=" for leaf in leaves)

    def selects(self, source: Source, parameters: Parameters) -> list[str]:
        """Return statements that yield the keys of the rows, one for each alternative."""
        return [select(source, parameters, leaves) for leaves in self.alternatives]


def select(source: Source, parameters: Parameters, leaves: Sequence[Leaf]) -> str:
    """Return the statement that yields the keys of rows which meet conditions on one field."""
    place = source.fields[leaves[0].field.name]
    conditions = Conditions(source, parameters)
    if isinstance(place, Column):
        keys = ", ".join(source.key)
        texts = [conditions.of_column(place.name, place, leaf) for leaf in leaves]
        return f"SELECT {keys} FROM {source.table} WHERE {' AND '.join(texts)}"
    if isinstance(place, Keyed):
        texts = [conditions.of_keyed(place, leaf) for leaf in leaves]
        return (
            f"SELECT x.{place.owner} AS {source.key[0]} "
            f"FROM {place.table} x WHERE {' AND '.join(texts)}"
        )
    keys = ", ".join(f"y.{column} AS {column}" for column in source.key)
    joined = " AND ".join(f"y.{out} = x.{inside}" for inside, out in place.joined)
    texts = [conditions.of_members(place, leaf) for leaf in leaves]
    return (
        f"SELECT {keys} FROM {place.table} x CROSS JOIN {source.table} y "
        f"WHERE {joined} AND {' AND '.join(texts)}"
    )


def drivers_of(source: Source, conjuncts: Sequence[Condition]) -> list[Driver]:
    """Return the drivers among conditions that all have to hold."""
    groups = list(groups_of(source, conjuncts))
    drivers = [Driver((leaves,), tuple(leaves)) for leaves in groups]
    for condition in conjuncts:
        if isinstance(condition, AnyOf) and condition.conditions:
            alternatives = [alternative(source, part) for part in condition.conditions]
            found = [leaves for leaves in alternatives if leaves]
            if len(found) == len(alternatives):
                drivers.append(Driver(tuple(found), exactly(condition)))
    return drivers


def groups_of(source: Source, conditions: Sequence[Condition]) -> Iterator[tuple[Leaf, ...]]:
    """Yield the indexable conditions, those on one field together."""
    groups: dict[Field, list[Leaf]] = {}
    for condition in conditions:
        if isinstance(condition, Comparison | Presence) and is_indexable(source, condition):
            groups.setdefault(condition.field, []).append(condition)
    for leaves in groups.values():
        if isinstance(source.fields[leaves[0].field.name], Members):
            # Two members need two rows.
            yield from ((leaf,) for leaf in leaves)
        else:
            yield tuple(leaves)


def alternative(source: Source, condition: Condition) -> tuple[Leaf, ...]:
    """Return what an index can answer of one branch of an OR; nothing if it cannot."""
    parts = condition.conditions if isinstance(condition, All) else (condition,)
    return next(groups_of(source, parts), ())


def exactly(condition: AnyOf) -> tuple[Condition, ...]:
    """Return the OR if its driver says all of it, and so replaces it."""
    leaves = all(isinstance(part, Comparison | Presence) for part in condition.conditions)
    return (condition,) if leaves else ()


def is_indexable(source: Source, leaf: Leaf) -> bool:
    """Tell whether an index finds the rows that meet a condition."""
    place = source.fields[leaf.field.name]
    if isinstance(leaf, Presence):
        return isinstance(place, Keyed)
    if leaf.operator == "!=":
        return False
    return not isinstance(place, Column) or place.indexed
