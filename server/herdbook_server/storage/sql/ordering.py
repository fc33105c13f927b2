"""The order of a search: its terms, and the segments that a page continues through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from herdbook_server.errors import FieldViolation, PageTokenInvalid
from herdbook_server.ports.queries import Field, Position, Query, Scalar, SortKey
from herdbook_server.storage.sql.fields import Column, Keyed, Kind, Source
from herdbook_server.storage.sql.texts import split

TYPES: Mapping[Kind, tuple[type, ...]] = {"text": (str,), "integer": (int,), "real": (int, float)}
"""What the values of a column of a kind are in Python."""


@dataclass(frozen=True, slots=True)
class Term:
    """One column of the order; a text with a key has two, its head and its rest."""

    field: Field
    column: str
    kind: Kind
    descending: bool
    nullable: bool
    """Whether some rows lack it; those come last."""
    keyed: Keyed | None = None
    """The table it lies in, if not in the searched one."""
    indexed: bool = False
    """Whether an index yields rows in its order."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a segment says of a term: it equals a value, comes after it, is there, or is absent."""

    term: int
    kind: Literal["equal", "after", "present", "absent"]
    value: Scalar | None = None


Segment = tuple[Bound, ...]
"""Rows that follow each other in the order; all terms but the last bound are fixed."""


def effective_order(source: Source, query: Query) -> tuple[SortKey, ...]:
    """Return the sort keys asked for and what makes them total, without those of one value."""
    asked = {key.field: key for key in reversed(query.order)}
    order = [asked[field] for field in dict.fromkeys(key.field for key in query.order)]
    follows = source.order_follows and bool(order) and order[0].descending
    for name, descending in source.order:
        if Field(name) not in asked:
            order.append(SortKey(Field(name), descending or follows))
    fixed = Field("model") if query.model is not None else None
    return tuple(key for key in order if key.field != fixed)


def to_terms(
    source: Source, order: Sequence[SortKey], *, present: frozenset[Field]
) -> tuple[Term, ...]:
    """Return the terms of an order; the fields in `present` are known not to be absent."""
    return tuple(
        term for key in order for term in terms_of(source, key, present=key.field in present)
    )


def terms_of(source: Source, key: SortKey, *, present: bool) -> Iterator[Term]:
    """Yield the terms of one sort key."""
    place = source.fields[key.field.name]
    if isinstance(place, Column):
        yield Term(
            field=key.field,
            column=place.name,
            kind=place.kind,
            descending=key.descending,
            nullable=place.nullable and not present,
            indexed=place.indexed,
        )
    elif isinstance(place, Keyed):
        value = Term(
            field=key.field,
            column="value" if place.kind == "real" else "head",
            kind=place.kind,
            descending=key.descending,
            nullable=not present,
            keyed=place,
            indexed=True,
        )
        yield value
        if place.kind == "text":
            yield replace(value, column="rest", nullable=False, indexed=False)


def to_values(terms: Sequence[Term], order: Sequence[SortKey], position: Position) -> Position:
    """Return the values of the terms at a position.

    Raises:
        PageTokenInvalid: The position does not belong to the order.
    """
    if len(position) != len(order):
        raise refused()
    values: list[Scalar | None] = []
    parts = iter(terms)
    for value in position:
        term = next(parts)
        if not fits(term, value):
            raise refused()
        if term.column == "head":
            values += (None, None) if value is None else split(str(value))
            next(parts)
        else:
            values.append(value)
    return tuple(values)


def fits(term: Term, value: Scalar | None) -> bool:
    """Tell whether a row may have the value; a page token that somebody made up holds anything."""
    if value is None:
        return term.nullable
    return isinstance(value, TYPES[term.kind])


def refused() -> PageTokenInvalid:
    """Return the error of a position that no row of this search has."""
    message = "The page token belongs to another search."
    return PageTokenInvalid(message, fields=[FieldViolation("page_token", message)])


def to_position(terms: Sequence[Term], values: Sequence[Scalar | None]) -> Position:
    """Return the position of a row by the values of its terms."""
    position: list[Scalar | None] = []
    for term, value in zip(terms, values, strict=True):
        if term.column == "rest" and term.keyed is not None:
            head = position.pop()
            position.append(None if head is None else f"{head}{value}")
        else:
            position.append(value)
    return tuple(position)


def segments(terms: Sequence[Term], after: Position | None) -> Iterator[Segment]:
    """Yield what a search goes through, from the beginning or from behind a position."""
    if after is None:
        yield from opening(terms, 0, ())
        return
    for index in reversed(range(len(terms))):
        value = after[index]
        fixed = tuple(fix(number, after[number]) for number in range(index))
        if value is not None:
            yield (*fixed, Bound(index, "after", value))
            if terms[index].nullable:
                yield from without(terms, index, fixed)


def opening(terms: Sequence[Term], index: int, fixed: Segment) -> Iterator[Segment]:
    """Yield the segments that begin with a term, the ones before it being fixed."""
    if terms[index].nullable:
        yield (*fixed, Bound(index, "present"))
        yield from without(terms, index, fixed)
    else:
        yield fixed


def without(terms: Sequence[Term], index: int, fixed: Segment) -> Iterator[Segment]:
    """Yield the segments of rows that lack the field of a term."""
    field, following = terms[index].field, index
    while terms[following].field == field:
        fixed = (*fixed, Bound(following, "absent"))
        following += 1
    yield from opening(terms, following, fixed)


def fix(term: int, value: Scalar | None) -> Bound:
    """Return the bound that keeps a term where it is."""
    return Bound(term, "absent") if value is None else Bound(term, "equal", value)
