"""What the gateways need of a connection, whichever the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

Value = str | int | float | bytes | None
"""What a statement takes as a parameter."""

Row = Sequence[Any]
"""A row of a result, by position."""

T = TypeVar("T")

PAGE = 250
"""How many values of a long list go into one statement."""

OUT_OF_SCHEMA = "The database has no schema, or one of another release: run `herdbook migrate`."
"""What to say when a table or a column is missing."""


class Duplicate(Exception):
    """A unique index refused a row; gateways turn it into what the domain calls it."""

    def __init__(self, index: str) -> None:
        super().__init__(index)
        self.index = index
        """Name of the index, the same on both engines."""


class Dangling(Exception):
    """A foreign key refused a row, or refused to let one go."""


class Connection(Protocol):
    """Runs statements with parameters `$1`, `$2` ….

    Raises `Duplicate`, `Dangling`, and of the domain's errors `DatabaseUnavailable`, if the engine
    does not answer, and `FieldInvalid`, if a value cannot be stored.
    """

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        """Return all rows."""

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Return the first row, if there is one."""

    async def execute(self, sql: str, *values: Value) -> int:
        """Run a statement; return how many rows it changed."""

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row of parameters, in this order.

        Statements that lock rows are run so with sorted keys, which keeps transactions that touch
        the same rows from waiting for each other in a circle.
        """

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]
    ) -> None:
        """Insert many rows in the fastest way that the engine has."""

    async def share(self, gate: int) -> None:
        """Keep `take` of the same gate waiting until this transaction ends.

        Nothing to do where writing transactions take turns.
        """

    async def take(self, gate: int) -> None:
        """Wait until no other transaction shares or has taken the gate, and keep it until the end.

        Nothing to do where writing transactions take turns.
        """

    def searching(self) -> AbstractAsyncContextManager[None]:
        """Keep a search within its bounds: few run at once, and none for long.

        Raises `SearchTooLong`. Nothing to do within a write.
        """


def pages(items: Sequence[T], size: int = PAGE) -> Iterator[Sequence[T]]:
    """Cut a list into pieces of `size` items at most."""
    return (items[start : start + size] for start in range(0, len(items), size))


def padded(items: Sequence[T], least: int = 1) -> Sequence[T]:
    """Repeat the last item until the length is a power of two, and no less than `least`.

    A list of values in a statement then has a few lengths only, and few statements are prepared.
    """
    length = 1 << (max(least, len(items)) - 1).bit_length()
    return [*items, *[items[-1]] * (length - len(items))]


def places(count: int, *, first: int = 1) -> str:
    """Return `$first, …` for `count` parameters."""
    return ", ".join(f"${number}" for number in range(first, first + count))


def pairs(count: int, *, first: int = 1) -> str:
    """Return `($first, …), …` for `count` pairs of parameters."""
    return ", ".join(f"(${n}, ${n + 1})" for n in range(first, first + 2 * count, 2))
