"""Rows of aliases and of their moves."""

from __future__ import annotations

from collections.abc import Sequence

from herdbook_server.ports.values import Alias, AliasMove
from herdbook_server.storage.sql.connection import Connection, Row
from herdbook_server.storage.sql.texts import after_prefix

COLUMNS = "a.model, a.alias, a.version, a.moved_at_us, a.moved_by, a.revision"

GET = f"SELECT {COLUMNS} FROM aliases a WHERE a.model = $1 AND a.alias = $2"

OF_VERSION = f"""
    SELECT {COLUMNS} FROM aliases a WHERE a.model = $1 AND a.version = $2 ORDER BY a.alias"""

OF_MODEL = f"""
    SELECT {COLUMNS} FROM aliases a WHERE a.model = $1 AND a.alias > $2 ORDER BY a.alias LIMIT $3"""

UNDER_PREFIX = f"""
    SELECT {COLUMNS} FROM aliases a JOIN models m ON m.name = a.model
    WHERE m.deleted_at_us IS NULL AND a.model >= $1"""

IN_ORDER = " ORDER BY a.model, a.alias LIMIT $2"

PUT = """
    INSERT INTO aliases (model, alias, version, moved_at_us, moved_by, revision)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (model, alias) DO UPDATE SET
        version = excluded.version, moved_at_us = excluded.moved_at_us,
        moved_by = excluded.moved_by, revision = excluded.revision"""

DELETE = "DELETE FROM aliases WHERE model = $1 AND alias = $2"

MOVE_COLUMNS = """
    revision, model, alias, from_version, to_version, undo_revision, rollback, actor, time_us,
    reason"""

ADD_MOVE = f"""
    INSERT INTO alias_moves ({MOVE_COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""

GET_MOVE = f"""
    SELECT {MOVE_COLUMNS} FROM alias_moves WHERE model = $1 AND alias = $2 AND revision = $3"""

MOVES_OF_ALIAS = f"""
    SELECT {MOVE_COLUMNS} FROM alias_moves
    WHERE model = $1 AND alias = $2 AND revision < $3
    ORDER BY revision DESC LIMIT $4"""

MOVES_OF_MODEL = f"""
    SELECT {MOVE_COLUMNS} FROM alias_moves
    WHERE model = $1 AND revision <= $2 AND (revision < $2 OR alias > $3)
    ORDER BY revision DESC, alias LIMIT $4"""

BEYOND_ALL = 2**63 - 1
"""A revision that no write reaches."""


class AliasRows:
    """Aliases and the history of their moves."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, model: str, alias: str) -> Alias | None:
        """See `ports.records.Aliases`."""
        row = await self._connection.fetch_one(GET, model, alias)
        return None if row is None else Alias(*row)

    async def of_version(self, model: str, number: int) -> Sequence[Alias]:
        """See `ports.records.Aliases`."""
        return [Alias(*row) for row in await self._connection.fetch(OF_VERSION, model, number)]

    async def of_model(self, model: str, *, after: str = "", limit: int) -> Sequence[Alias]:
        """See `ports.records.Aliases`."""
        return [Alias(*row) for row in await self._connection.fetch(OF_MODEL, model, after, limit)]

    async def under_prefix(self, prefix: str, *, limit: int) -> Sequence[Alias]:
        """See `ports.records.Aliases`. By model, then by alias."""
        end = after_prefix(prefix)
        if end is None:
            rows = await self._connection.fetch(UNDER_PREFIX + IN_ORDER, prefix, limit)
        else:
            rows = await self._connection.fetch(
                UNDER_PREFIX + " AND a.model < $3" + IN_ORDER, prefix, limit, end
            )
        return [Alias(*row) for row in rows]

    async def put(self, alias: Alias) -> None:
        """See `ports.records.Aliases`."""
        await self._connection.execute(
            PUT,
            alias.model,
            alias.alias,
            alias.version,
            alias.moved_at_us,
            alias.moved_by,
            alias.revision,
        )

    async def delete(self, model: str, alias: str) -> None:
        """See `ports.records.Aliases`."""
        await self._connection.execute(DELETE, model, alias)

    async def add_move(self, move: AliasMove) -> None:
        """See `ports.records.Aliases`."""
        await self._connection.execute(
            ADD_MOVE,
            move.revision,
            move.model,
            move.alias,
            move.from_version,
            move.to_version,
            move.undo_revision,
            int(move.rollback),
            move.actor,
            move.time_us,
            move.reason,
        )

    async def get_move(self, model: str, alias: str, revision: int) -> AliasMove | None:
        """See `ports.records.Aliases`."""
        row = await self._connection.fetch_one(GET_MOVE, model, alias, revision)
        return None if row is None else to_move(row)

    async def moves(
        self, model: str, alias: str | None, *, before: tuple[int, str] | None = None, limit: int
    ) -> Sequence[AliasMove]:
        """See `ports.records.Aliases`."""
        revision, name = before or (BEYOND_ALL, "")
        if alias is None:
            rows = await self._connection.fetch(MOVES_OF_MODEL, model, revision, name, limit)
        else:
            rows = await self._connection.fetch(MOVES_OF_ALIAS, model, alias, revision, limit)
        return [to_move(row) for row in rows]


def to_move(row: Row) -> AliasMove:
    """Return the move that a row holds."""
    revision, model, alias, origin, target, undo, rollback, *rest = row
    return AliasMove(revision, model, alias, origin, target, undo, bool(rollback), *rest)
