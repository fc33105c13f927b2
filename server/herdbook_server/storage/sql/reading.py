"""The refusal to write where only reads are meant to happen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from herdbook_server.storage.sql.connection import Value


class ReadOnly:
    """The writing half of `Connection`, for connections that only read.

    A call is a mistake in the program and raises TypeError.
    """

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
