"""Rows of what one server of many does now and then."""

from __future__ import annotations

from herdbook_server.storage.sql.connection import Connection

TAKE = """
    INSERT INTO duties (name, done_at_us, taken_until_us) VALUES ($1, 0, $4)
    ON CONFLICT (name) DO UPDATE SET taken_until_us = excluded.taken_until_us
    WHERE duties.done_at_us < $2 AND duties.taken_until_us < $3"""

DONE = "UPDATE duties SET done_at_us = $2, taken_until_us = 0 WHERE name = $1"


class DutyRows:
    """Who does what one server of many does now and then."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self, name: str, *, done_before_us: int, time_us: int, until_us: int) -> bool:
        """See `ports.records.Duties`."""
        return await self._connection.execute(TAKE, name, done_before_us, time_us, until_us) > 0

    async def done(self, name: str, *, time_us: int) -> None:
        """See `ports.records.Duties`."""
        await self._connection.execute(DONE, name, time_us)
