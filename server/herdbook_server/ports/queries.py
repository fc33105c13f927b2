"""Searches: conditions, sort keys and pages, free of any grammar and any SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Scalar = str | int | float | bool
"""What a field is compared with; times are microseconds UTC."""

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "prefix", "has"]
"""`prefix`: text that starts so; `has`: a list or set that holds the value, such as `aliases`."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Field:
    """A searchable field, such as `stage` or, with a key, `metrics.rmse`."""

    name: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field against a value. False where the field is absent, `!=` included."""

    field: Field
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class Presence:
    """The field is there and, for text, not empty."""

    field: Field


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class All:
    """Every condition holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one condition holds."""

    conditions: tuple[Condition, ...]


Condition = Comparison | Presence | Not | All | AnyOf


@dataclass(frozen=True, slots=True)
class SortKey:
    """A field to sort by; rows without it come last, whichever the direction."""

    field: Field
    descending: bool = False


Position = tuple[Scalar | None, ...]
"""Where a page ended: the sort keys of its last row, and what makes the row unique."""


@dataclass(frozen=True, slots=True)
class Query:
    """One page of a search."""

    where: Condition | None
    order: tuple[SortKey, ...]
    """Without the unique keys that make it total; those are added by the gateway."""
    limit: int
    after: Position | None = None
    model: str | None = None
    """Only what belongs to this model."""
    show_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A page of a search."""

    items: tuple[T, ...]
    next: Position | None
    """Where the next page starts; None on the last page."""
