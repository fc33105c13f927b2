"""Rows of first answers to request ids."""

from __future__ import annotations

from herdbook_server.errors import RequestIdReused
from herdbook_server.ports.values import RequestRecord
from herdbook_server.storage.sql import documents
from herdbook_server.storage.sql.connection import Connection, Duplicate

GET = "SELECT request_id, fingerprint, answer, time_us FROM requests WHERE request_id = $1"
ADD = "INSERT INTO requests (request_id, fingerprint, answer, time_us) VALUES ($1, $2, $3, $4)"
FORGET = "DELETE FROM requests WHERE time_us < $1"


class RequestRows:
    """First answers, by request id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, request_id: str) -> RequestRecord | None:
        """See `ports.records.Requests`."""
        row = await self._connection.fetch_one(GET, request_id)
        if row is None:
            return None
        return RequestRecord(row[0], bytes(row[1]), documents.load(row[2]), row[3])

    async def add(self, record: RequestRecord) -> None:
        """See `ports.records.Requests`. Raises RequestIdReused if the id has an answer."""
        answer = documents.dump(record.answer)
        try:
            await self._connection.execute(
                ADD, record.request_id, record.fingerprint, answer, record.time_us
            )
        except Duplicate as error:
            raise RequestIdReused(
                f"Request id {record.request_id} was used for another request."
            ) from error

    async def forget_before(self, time_us: int) -> int:
        """See `ports.records.Requests`."""
        return await self._connection.execute(FORGET, time_us)
