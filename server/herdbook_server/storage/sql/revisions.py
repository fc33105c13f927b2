"""The row that counts the registry's revisions."""

from __future__ import annotations

from typing import Final

from herdbook_server.storage.sql.connection import Connection

TAKE: Final = "UPDATE registry SET revision = revision + 1 WHERE id = 1 RETURNING revision"

NEWEST: Final = "SELECT revision FROM registry WHERE id = 1"


async def take(connection: Connection) -> int:
    """Return a new revision; until the transaction ends, nobody else takes one."""
    row = await connection.fetch_one(TAKE)
    return row[0] if row else 0


async def newest(connection: Connection) -> int:
    """Return the newest revision that is committed; 0 before the first."""
    row = await connection.fetch_one(NEWEST)
    return row[0] if row else 0
