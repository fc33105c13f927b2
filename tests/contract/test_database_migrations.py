"""Migrations make the same schema on both engines, once, and refuse what they did not make."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from herdbook_server.storage.sql import migrate as migrations
from herdbook_server.storage.sql import postgres, sqlite
from herdbook_server.storage.sql.migrate import Migration, SchemaRefused, load_migrations
from herdbook_server.storage.sql.postgres import PostgresDatabase
from herdbook_server.storage.sql.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

Open = "Callable[[], AbstractAsyncContextManager[Any]]"

KINDS = {
    "TEXT": "text",
    "INTEGER": "integer",
    "BIGINT": "integer",
    "REAL": "real",
    "BLOB": "bytes",
    "text": "text",
    "bigint": "integer",
    "double precision": "real",
    "bytea": "bytes",
}


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def opened(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Opens the same empty database, again and again."""
    dsn = request.getfixturevalue("postgres_database") if engine == "postgres" else ""

    @contextlib.asynccontextmanager
    async def open_database() -> AsyncIterator[Any]:
        path = tmp_path / "herdbook.db"
        database: Any = await (PostgresDatabase.open(dsn) if dsn else SqliteDatabase.open(path))
        try:
            yield database
        finally:
            await database.close()

    return open_database


@pytest.fixture
def use_migrations(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[tuple[Migration, ...]], None]:
    """Replaces the migrations that the release brings."""

    def use(steps: tuple[Migration, ...]) -> None:
        for module in (sqlite, postgres):
            monkeypatch.setattr(module, "load_migrations", lambda _: steps)

    return use


def test_both_engines_have_the_same_steps() -> None:
    names = {
        engine: [(step.number, step.name) for step in load_migrations(engine)]
        for engine in ("sqlite", "postgres")
    }
    assert names["sqlite"] == names["postgres"]
    assert [number for number, _ in names["sqlite"]] == list(range(1, len(names["sqlite"]) + 1))


async def test_both_engines_have_the_same_tables_columns_and_indexes(
    tmp_path: Path, postgres_database: str
) -> None:
    lite = await SqliteDatabase.open(tmp_path / "herdbook.db")
    await lite.migrate()
    await lite.close()
    grown = await PostgresDatabase.open(postgres_database)
    await grown.migrate()
    await grown.close()
    columns, indexes = sqlite_schema(tmp_path / "herdbook.db")
    assert columns
    assert (columns, indexes) == await postgres_schema(postgres_database)


async def test_texts_sort_by_code_point(postgres_database: str) -> None:
    database = await PostgresDatabase.open(postgres_database)
    await database.migrate()
    await database.close()
    connection = await asyncpg.connect(postgres_database)
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS NULL"
    )
    await connection.close()
    documents = {"tags", "metrics", "params", "signature", "input_example", "lineage"}
    documents |= {"environment", "packages", "answer"}
    others = {tuple(row) for row in rows if row["column_name"] not in documents}
    assert others == {("migrations", "name"), ("migrations", "checksum")}


async def test_migrating_twice_changes_nothing(opened: Any, engine: str) -> None:
    async with opened() as database:
        assert await database.migrate() == len(load_migrations(engine))
        assert await database.migrate() == 0
        assert await database.revision() == 0


async def test_two_that_migrate_at_once_take_each_step_once(opened: Any, engine: str) -> None:
    async with opened() as one, opened() as other:
        taken = await asyncio.gather(*(database.migrate() for database in (one, other) * 3))
    assert sum(taken) == len(load_migrations(engine))


async def test_a_step_that_was_changed_since_is_refused(
    opened: Any, engine: str, use_migrations: Any
) -> None:
    first, *others = load_migrations(engine)
    async with opened() as database:
        await database.migrate()
        use_migrations((dataclasses.replace(first, script=first.script + "\n"), *others))
        with pytest.raises(SchemaRefused, match=first.name):
            await database.migrate()


async def test_a_schema_of_a_later_release_is_refused(
    opened: Any, engine: str, use_migrations: Any
) -> None:
    async with opened() as database:
        await database.migrate()
        use_migrations(load_migrations(engine)[:1])
        with pytest.raises(SchemaRefused, match="later release"):
            await database.migrate()


async def test_a_step_that_fails_leaves_no_trace_and_can_be_repeated(
    opened: Any, engine: str, use_migrations: Any
) -> None:
    steps = load_migrations(engine)
    bad = Migration(len(steps) + 1, "bad", "CREATE TABLE calf (n BIGINT);\nSELECT moo;\n")
    good = dataclasses.replace(bad, name="good", script="CREATE TABLE calf (n BIGINT);\n")
    async with opened() as database:
        use_migrations((*steps, bad))
        with pytest.raises(Exception, match=r"moo|migrate"):
            await database.migrate()
        use_migrations((*steps, good))
        assert await database.migrate() == 1


def test_checksums_tell_scripts_apart() -> None:
    assert Migration(1, "a", "x").checksum != Migration(1, "a", "y").checksum
    assert migrations.load_migrations("sqlite") != migrations.load_migrations("postgres")


Schema = tuple[dict[tuple[str, str], tuple[str, bool]], set[tuple[str, str]]]


def sqlite_schema(path: Path) -> Schema:
    """Return the type and nullability of each column, and the named indexes of each table."""
    connection = sqlite3.connect(path)
    tables = [
        row[0]
        for row in connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite%'"
        )
    ]
    columns = {
        (table, row[1]): (KINDS[row[2]], bool(row[3] or row[5]))
        for table in tables
        for row in connection.execute(f"PRAGMA table_info({table})")
    }
    indexes = {
        (row[0], row[1])
        for row in connection.execute(
            "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        )
    }
    connection.close()
    return columns, indexes


async def postgres_schema(dsn: str) -> Schema:
    """Return the same of a PostgreSQL database."""
    connection = await asyncpg.connect(dsn)
    columns = await connection.fetch(
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    )
    indexes = await connection.fetch(
        "SELECT tablename, indexname FROM pg_indexes "
        "WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey'"
    )
    await connection.close()
    typed = {(row[0], row[1]): (KINDS[row[2]], row[3] == "NO") for row in columns}
    return typed, {(row[0], row[1]) for row in indexes}
