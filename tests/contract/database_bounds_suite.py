"""How every `Database` keeps searches from taking more than their share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from herdbook_server.errors import SearchTooLong
from herdbook_server.ports.queries import Query
from herdbook_server.storage.sql.search_statements import Statement
from tests.contract.database_rows import add_model, model
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from herdbook_server.ports.database import Database
    from herdbook_server.storage.sql.turns import Turns

DEADLINE_SECONDS = 30
QUERY = Query(None, (), 10)
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT count(*) FROM n"


class EndlessStatement:
    """Stands in for a search that never ends, and counts how many have begun."""

    def __init__(self) -> None:
        self.begun = 0

    def write(self, *_: object, **__: object) -> tuple[str, list[Any]]:
        """See `Statement`."""
        self.begun += 1
        return ENDLESS, []


def turns_of(records: Any) -> Turns:
    """Return what bounds the searches of a read."""
    turns: Turns = records.versions._connection.turns
    return turns


class BoundsTests:
    """Subclasses provide `database`."""

    async def test_searches_without_end_leave_connections_to_other_reads(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await add_model(database)
        endless = EndlessStatement()
        monkeypatch.setattr(Statement, "write", endless.write)
        async with database.read() as records:
            monkeypatch.setattr(turns_of(records), "limit_seconds", 10 * DEADLINE_SECONDS)
            searches = [asyncio.create_task(records.versions.search(QUERY)) for _ in range(15)]
            await eventually(lambda: endless.begun, "a search has begun")
            async with asyncio.timeout(DEADLINE_SECONDS):
                assert await records.models.get("team/cow") == model()
                assert await database.revision() == 1
            for search in searches:
                search.cancel()
            await asyncio.wait(searches)

    async def test_a_search_without_end_is_stopped_and_frees_its_connection(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await add_model(database)
        async with database.read() as records:
            with monkeypatch.context() as slow:
                slow.setattr(Statement, "write", EndlessStatement().write)
                slow.setattr(turns_of(records), "limit_seconds", 0.2)
                ended = await asyncio.gather(
                    *(records.versions.search(QUERY) for _ in range(6)), return_exceptions=True
                )
            assert {type(error) for error in ended} == {SearchTooLong}
            async with asyncio.timeout(DEADLINE_SECONDS):
                found = await asyncio.gather(*(records.models.search(QUERY) for _ in range(15)))
        assert [one.items for one in found] == [(model(),)] * 15
