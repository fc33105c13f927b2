"""The record in an SQLite file keeps what the port promises."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.storage.sql.sqlite import SqliteDatabase, bind
from tests.contract.database_bounds_suite import BoundsTests
from tests.contract.database_chunks_suite import ChunkIndexTests, ManifestTests
from tests.contract.database_records_suite import RecordTests
from tests.contract.database_rows import add_model
from tests.contract.database_search_suite import SearchTests, grow
from tests.contract.database_suite import DatabaseTests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path


FULL = 2
NORMAL = 1


class RawSqlite:
    """SQL without the code under test."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=30)

    async def fetch(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """See `RawDatabase`."""
        return self.connection.execute(sql, bind(values)).fetchall()

    async def execute(self, sql: str, *values: Any) -> None:
        """See `RawDatabase`."""
        self.connection.execute(sql, bind(values))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "herdbook.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = await SqliteDatabase.open(path)
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
async def neighbour(database: SqliteDatabase, path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = await SqliteDatabase.open(path)
    yield opened
    await opened.close()


@pytest.fixture
def raw(database: SqliteDatabase, path: Path) -> Iterator[RawSqlite]:
    opened = RawSqlite(path)
    yield opened
    opened.connection.close()


class TestSqliteDatabase(DatabaseTests, RecordTests, ChunkIndexTests, ManifestTests):
    """The shared suites."""

    async def test_the_file_is_durable_and_checked(self, database: SqliteDatabase) -> None:
        async def pragma(name: str) -> Any:
            return (await database._writer.fetch(f"PRAGMA {name}"))[0][0]

        assert await pragma("journal_mode") == "wal"
        assert await pragma("foreign_keys") == 1
        for _ in range(2):
            async with database.write():
                assert await pragma("synchronous") == FULL
            async with database.bookkeep(durable=False):
                assert await pragma("synchronous") == NORMAL
            async with database.bookkeep():
                assert await pragma("synchronous") == FULL

    async def test_a_beginning_that_was_cancelled_leaves_the_next_write_durable(
        self, database: SqliteDatabase
    ) -> None:
        async def relaxed() -> None:
            async with database.bookkeep(durable=False):
                pass

        for steps in range(20):
            task = asyncio.create_task(relaxed())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with database.write():
                assert (await database._writer.fetch("PRAGMA synchronous"))[0][0] == FULL

    async def test_what_was_written_is_there_after_reopening(
        self, database: SqliteDatabase, path: Path
    ) -> None:
        await add_model(database)
        await database.close()
        again = await SqliteDatabase.open(path)
        assert await again.revision() == 1
        await again.close()
        with pytest.raises(DatabaseUnavailable):
            await database.revision()

    async def test_a_file_that_is_no_database_is_unavailable(self, path: Path) -> None:
        path.write_bytes(b"moo" * 1000)
        with pytest.raises(DatabaseUnavailable, match="not a database"):
            await SqliteDatabase.open(path)

    async def test_a_directory_that_is_not_there_is_unavailable(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
            await SqliteDatabase.open(tmp_path / "none" / "herdbook.db")

    async def test_a_full_disk_is_unavailable_and_the_write_leaves_no_trace(
        self, database: SqliteDatabase, raw: RawSqlite
    ) -> None:
        size = (await database._writer.fetch("PRAGMA page_count"))[0][0]
        await database._writer.fetch(f"PRAGMA max_page_count = {size}")
        with pytest.raises(DatabaseUnavailable, match="full"):
            await add_model(database, versions=300)
        await database._writer.fetch("PRAGMA max_page_count = 1000000")
        assert await raw.fetch("SELECT name FROM models") == []
        await add_model(database)
        assert await database.revision() == 1


class TestSqliteSearch(SearchTests, BoundsTests):
    """The shared suite."""

    @pytest.fixture
    async def grown_database(self, database: SqliteDatabase) -> SqliteDatabase:
        await grow(database, 300)
        await database._writer.fetch("ANALYZE")
        return database

    @pytest.fixture
    def explain(self, raw: RawSqlite) -> Callable[..., Awaitable[list[str]]]:
        """Return the steps of a statement that scan a table without an index."""

        async def explain(sql: str, values: Sequence[Any]) -> list[str]:
            steps = [row[3] for row in await raw.fetch(f"EXPLAIN QUERY PLAN {sql}", *values)]
            assert steps
            return [
                step
                for step in steps
                if step.startswith("SCAN")
                and "USING" not in step
                and step.split()[1] not in {"d", "n", "registry", "CONSTANT"}
            ]

        return explain
