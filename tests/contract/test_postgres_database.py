"""The record in PostgreSQL keeps what the port promises."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from herdbook_server.errors import DatabaseUnavailable, FieldInvalid
from herdbook_server.storage.sql.postgres import PostgresDatabase
from herdbook_server.storage.sql.postgres_connection import SETTINGS
from tests.contract.database_bounds_suite import BoundsTests
from tests.contract.database_chunks_suite import ChunkIndexTests, ManifestTests
from tests.contract.database_records_suite import RecordTests
from tests.contract.database_rows import add_model, event, model, report
from tests.contract.database_search_suite import SearchTests, grow
from tests.contract.database_suite import DatabaseTests
from tests.support.ports import LOOPBACK, free_port
from tests.support.postgres import PostgresCluster, private_directory
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

DEADLINE_SECONDS = 30
KILL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()"""


class RawPostgres:
    """SQL without the code under test."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def fetch(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """See `RawDatabase`."""
        return [tuple(row) for row in await self.connection.fetch(sql, *values)]

    async def execute(self, sql: str, *values: Any) -> None:
        """See `RawDatabase`."""
        await self.connection.execute(sql, *values)


@pytest.fixture
async def database(postgres_database: str) -> AsyncIterator[PostgresDatabase]:
    opened = await PostgresDatabase.open(postgres_database)
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
async def neighbour(
    database: PostgresDatabase, postgres_database: str
) -> AsyncIterator[PostgresDatabase]:
    opened = await PostgresDatabase.open(postgres_database, pool_size=4)
    yield opened
    await opened.close()


@pytest.fixture
async def raw(database: PostgresDatabase, postgres_database: str) -> AsyncIterator[RawPostgres]:
    connection = await asyncpg.connect(postgres_database)
    yield RawPostgres(connection)
    await connection.close()


class TestPostgresDatabase(DatabaseTests, RecordTests, ChunkIndexTests, ManifestTests):
    """The shared suites."""

    async def test_reads_and_writes_work_right_after_all_connections_were_killed(
        self, database: PostgresDatabase, raw: RawPostgres
    ) -> None:
        await add_model(database)
        await raw.fetch(KILL)
        assert await database.revision() == 1
        await raw.fetch(KILL)
        await add_model(database, "team/calf")
        await raw.fetch(KILL)
        async with database.bookkeep() as records:
            await records.replicas.put([report("r1")], expires_at_us=1)
        assert await database.revision() == 2

    async def test_a_write_whose_connection_is_killed_is_unavailable_and_leaves_no_trace(
        self, database: PostgresDatabase, raw: RawPostgres
    ) -> None:
        with pytest.raises(DatabaseUnavailable):  # noqa: PT012 - the block is what raises
            async with database.write() as records:
                await records.models.insert(model())
                await raw.fetch(KILL)
                await records.events.add([event(records.revision)])
        assert await raw.fetch("SELECT name FROM models") == []
        await add_model(database)
        assert await database.revision() == 1

    async def test_only_bookkeeping_that_may_be_lost_does_not_wait_for_the_disk(
        self, database: PostgresDatabase
    ) -> None:
        async def waits(records: Any) -> str:
            rows = await records.models._connection.fetch("SHOW synchronous_commit")
            return str(rows[0][0])

        for _ in range(2):
            async with database.write() as records:
                assert await waits(records) == "on"
            async with database.bookkeep(durable=False) as records:
                assert await waits(records) == "off"
            async with database.bookkeep() as records:
                assert await waits(records) == "on"

    async def test_bookkeeping_does_not_wait_for_a_write(self, database: PostgresDatabase) -> None:
        async with (
            database.write(),
            asyncio.timeout(DEADLINE_SECONDS),
            database.bookkeep() as records,
        ):
            await records.replicas.put([report("r1")], expires_at_us=1)

    async def test_a_notification_wakes_whoever_waits(
        self, database: PostgresDatabase, neighbour: PostgresDatabase
    ) -> None:
        async def never() -> int:
            await asyncio.Event().wait()
            return 0

        await eventually(lambda: database._listener.listening, "the listener listens")
        database._changes._read_revision = never  # the poll, which would wake it too
        waiting = asyncio.create_task(database.wait_for_change(0, timeout_seconds=600))
        await asyncio.sleep(0)
        await add_model(neighbour)
        await asyncio.wait_for(waiting, DEADLINE_SECONDS)

    async def test_the_listener_connects_again(
        self, database: PostgresDatabase, raw: RawPostgres
    ) -> None:
        for _ in range(2):
            await eventually(lambda: database._listener.listening, "the listener listens")
            await raw.fetch(KILL)
            await eventually(lambda: not database._listener.listening, "it notices the break")
        await eventually(lambda: database._listener.listening, "it listens once more")

    async def test_nul_in_a_text_is_refused(self, database: PostgresDatabase) -> None:
        with pytest.raises(FieldInvalid):
            await add_model(database, "team/\x00")

    async def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        with pytest.raises(DatabaseUnavailable):
            await PostgresDatabase.open(f"postgresql://postgres@{LOOPBACK}:{free_port()}/none")

    async def test_whoever_starts_a_server_is_told_why_the_database_cannot_be_reached(
        self, postgres_database: str
    ) -> None:
        with pytest.raises(DatabaseUnavailable, match="does not exist"):
            await PostgresDatabase.open(f"{postgres_database}_elsewhere")

    async def test_a_server_that_restarts_is_unavailable_and_then_answers(self) -> None:
        with private_directory() as home:
            cluster = PostgresCluster.create(home)
            with cluster.serve() as dsn:
                database = await PostgresDatabase.open(dsn)
                await database.migrate()
                await add_model(database)
            with pytest.raises(DatabaseUnavailable):
                await database.revision()
            with pytest.raises(DatabaseUnavailable):
                await add_model(database)
            with cluster.serve():
                assert await database.revision() == 1
                await add_model(database, "team/calf")
            await database.close()


class TestPostgresSearch(SearchTests, BoundsTests):
    """The shared suite."""

    @pytest.fixture
    async def grown_database(
        self, database: PostgresDatabase, raw: RawPostgres
    ) -> PostgresDatabase:
        await grow(database, 300)
        await raw.execute("ANALYZE")
        return database

    @pytest.fixture
    async def explain(self, raw: RawPostgres) -> Callable[..., Awaitable[list[str]]]:
        """Return the scans of a statement that look at half of all versions, or more.

        What merely counts matches has a bound of its own.
        """
        await raw.fetch(SETTINGS)

        async def explain(sql: str, values: Sequence[Any]) -> list[str]:
            ((plan,),) = await raw.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *values)
            visited = dict(visits(json.loads(plan)[0]["Plan"]))
            assert visited
            return [] if "count(*)" in sql else [k for k, n in visited.items() if n >= MANY]

        return explain


MANY = 450
"""Half of the versions that there are."""


def visits(plan: dict[str, Any], place: str = "") -> Iterator[tuple[str, float]]:
    """Yield how many rows each scan of a table or an index looks at."""
    kind = plan["Node Type"]
    if kind.endswith("Scan") and kind not in {"CTE Scan", "Subquery Scan"}:
        removed = plan.get("Rows Removed by Filter", 0)
        removed += plan.get("Rows Removed by Index Recheck", 0)
        name = plan.get("Index Name") or plan.get("Relation Name")
        yield f"{place}{kind} {name}", (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    for number, part in enumerate(plan.get("Plans", ())):
        yield from visits(part, f"{place}{number}.")
