"""What connections that only read have in common, whichever the engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from herdbook_server.storage.sql.connection import Value
from herdbook_server.storage.sql.turns import Turns


class ReadOnly:
    """The part of `Connection` that is the same for all connections that only read.

    A write is a mistake in the program and raises TypeError.
    """

    def __init__(self, *, searches_at_once: int) -> None:
        self.turns = Turns(searches_at_once)
        """Turns of searches, which are fewer than the connections."""

    def searching(self) -> AbstractAsyncContextManager[None]:
        """See `Connection`."""
        return self.turns.take()

    async def execute(self, sql: str, *values: Value) -> int:
        """Refuse."""
        raise TypeError(f"a read does not write: {sql.strip()} {len(values)}")

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Refuse."""
        raise TypeError(f"a read does not write: {sql.strip()} {rows!r}")

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]
    ) -> None:
        """Refuse."""
        raise TypeError(f"a read does not write: {table} {columns} {rows!r}")

    async def share(self, gate: int) -> None:
        """Refuse."""
        raise TypeError(f"a read takes no locks: {gate}")

    async def take(self, gate: int) -> None:
        """Refuse."""
        raise TypeError(f"a read takes no locks: {gate}")
