"""The record in an SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final, Self

import aiosqlite

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.database import WriteRecords
from herdbook_server.ports.records import Records
from herdbook_server.storage.sql import revisions
from herdbook_server.storage.sql.cancellation import finish
from herdbook_server.storage.sql.changes import Changes
from herdbook_server.storage.sql.connection import Row, Value, places
from herdbook_server.storage.sql.migrate import load_migrations, migrate
from herdbook_server.storage.sql.reading import ReadOnly
from herdbook_server.storage.sql.records import SqlRecords, SqlWriteRecords
from herdbook_server.storage.sql.sqlite_errors import translate

OLDEST_SQLITE: Final = (3, 37, 0)

READERS: Final = 4
"""How many reads run at once."""

BUSY_SECONDS: Final = 10.0
"""How long a write waits for another process that has the file."""

SETTINGS: Final = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -16000;
    PRAGMA journal_size_limit = 67108864;
    """

NAMES: Final = tuple(str(number) for number in range(1, 65))


def bind(values: Sequence[Value]) -> dict[str, Value]:
    """Return parameters by the names that `$1`, `$2` … have in SQLite.

    A sequence would bind in the order in which they first appear in the text.
    """
    if len(values) <= len(NAMES):
        return dict(zip(NAMES, values, strict=False))
    return {str(place): value for place, value in enumerate(values, 1)}


class SqliteConnection:
    """Runs statements on one connection, in its thread; implements `Connection`."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._durable: bool | None = True

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        """See `Connection`."""
        try:
            return list(await self._connection.execute_fetchall(sql, bind(values)))
        except asyncio.CancelledError:
            await self._connection.interrupt()
            raise
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise translate(error) from error

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """See `Connection`."""
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def execute(self, sql: str, *values: Value) -> int:
        """See `Connection`."""
        try:
            async with self._connection.execute(sql, bind(values)) as cursor:
                return cursor.rowcount
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise translate(error) from error

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """See `Connection`."""
        try:
            async with self._connection.executemany(sql, (bind(row) for row in rows)):
                return
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise translate(error) from error

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]
    ) -> None:
        """See `Connection`."""
        await self.execute_many(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places(len(columns))})",
            rows,
        )

    async def share(self, gate: int) -> None:
        """Do nothing: writing transactions take turns."""

    async def take(self, gate: int) -> None:
        """Do nothing: writing transactions take turns."""

    def searching(self) -> AbstractAsyncContextManager[None]:
        """See `Connection`."""
        return nullcontext()

    async def begin(self, how: str, *, durable: bool) -> None:
        """Begin a transaction that may write; its commit waits for the disk if it is `durable`."""
        if durable != self._durable:
            self._durable = None  # unknown, should this be cancelled
            await self.fetch(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        await self.fetch(f"BEGIN {how}")

    async def commit(self) -> None:
        """Commit, as durably as the transaction began."""
        await self.fetch("COMMIT")

    async def rollback(self) -> None:
        """Leave the transaction, if there is one."""
        try:
            await self._connection.rollback()
        except (sqlite3.Error, ValueError) as error:
            raise translate(error) from error

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; says so reliably while no statement is under way."""
        return self._connection.in_transaction

    async def run_script(self, script: str) -> None:
        """Run several statements within the transaction."""
        for statement in statements_of(script):
            await self.fetch(statement)

    async def close(self) -> None:
        """Close the connection and end its thread."""
        await self._connection.close()


class Readers(ReadOnly):
    """Connections that read; each statement is run by one that is idle."""

    def __init__(self, connections: Sequence[SqliteConnection]) -> None:
        super().__init__(searches_at_once=max(1, len(connections) // 2))
        self._connections = connections
        self._idle: asyncio.LifoQueue[SqliteConnection] = asyncio.LifoQueue()
        for connection in connections:
            self._idle.put_nowait(connection)

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        """See `Connection`."""
        connection = await self._idle.get()
        try:
            return await connection.fetch(sql, *values)
        finally:
            self._idle.put_nowait(connection)

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """See `Connection`."""
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Close all of them."""
        for connection in self._connections:
            await connection.close()


class SqliteDatabase:
    """The record in an SQLite file; implements `ports.database.Database`.

    Reads run on a few connections in threads, writes on one. Several processes may open a file,
    on one machine; the revision of another process is noticed within a fraction of a second.
    """

    engine: Final = "sqlite"
    """The engine's name."""

    def __init__(self, writer: SqliteConnection, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers
        self._records = SqlRecords(readers)
        self._turn = asyncio.Lock()
        self._changes = Changes(self.revision)

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the database in a file, which is created if there is none.

        The schema is left alone: see `migrate`.

        Raises:
            DatabaseUnavailable: The file cannot be opened, or the SQLite library is too old.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise DatabaseUnavailable(f"SQLite {sqlite3.sqlite_version} is older than 3.37.")
        opened: list[SqliteConnection] = []
        try:
            opened.append(await connect(path, SETTINGS))
            while len(opened) <= READERS:
                opened.append(await connect(path, SETTINGS + "PRAGMA query_only = ON;"))
        except BaseException:
            for connection in opened:
                await finish(connection.close())
            raise
        return cls(opened[0], Readers(opened[1:]))

    def read(self) -> AbstractAsyncContextManager[Records]:
        """See `ports.database.Database`."""
        return nullcontext(self._records)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteRecords]:
        """See `ports.database.Database`."""
        async with self._transaction() as connection:
            records = SqlWriteRecords(connection, await revisions.take(connection))
            yield records
            if records.events.added:
                await finish(self._commit(connection, records.revision))

    @asynccontextmanager
    async def bookkeep(self, *, durable: bool = True) -> AsyncIterator[Records]:
        """See `ports.database.Database`."""
        async with self._transaction(durable=durable) as connection:
            yield SqlRecords(connection)
            await finish(connection.commit())

    async def revision(self) -> int:
        """See `ports.database.Database`."""
        return await revisions.newest(self._readers)

    async def wait_for_change(self, revision: int, *, timeout_seconds: float) -> None:
        """See `ports.database.Database`."""
        await self._changes.wait(revision, timeout_seconds=timeout_seconds)

    async def migrate(self) -> int:
        """See `ports.database.Database`.

        Raises:
            SchemaRefused: The schema is not the work of the migrations of this release.
        """
        return await migrate(self._exclusive, load_migrations("sqlite"))

    async def close(self) -> None:
        """See `ports.database.Database`."""
        async with self._turn:
            await self._readers.close()
            await self._writer.close()

    async def _commit(self, connection: SqliteConnection, revision: int) -> None:
        await connection.commit()
        self._changes.passed(revision)

    @asynccontextmanager
    async def _transaction(
        self, how: str = "IMMEDIATE", *, durable: bool = True
    ) -> AsyncIterator[SqliteConnection]:
        """Give a transaction that is rolled back unless the block commits it."""
        async with self._turn:
            try:
                await self._writer.begin(how, durable=durable)
                yield self._writer
            except BaseException:
                await finish(self._writer.rollback())
                raise
            if self._writer.in_transaction:
                await finish(self._writer.rollback())

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[SqliteConnection]:
        async with self._transaction("EXCLUSIVE") as connection:
            yield connection
            await finish(connection.commit())


async def connect(path: Path, settings: str) -> SqliteConnection:
    """Open a connection to a file."""
    connection = aiosqlite.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=256
    )
    try:
        await connection
    except sqlite3.Error as error:
        # Its thread has yet to tell this loop that it ends, which may be closed by then.
        await asyncio.to_thread(connection._thread.join)  # noqa: SLF001 - aiosqlite waits for none
        raise translate(error) from error
    opened = SqliteConnection(connection)
    try:
        await opened.run_script(settings)
    except BaseException:
        await finish(opened.close())
        raise
    return opened


def statements_of(script: str) -> Iterator[str]:
    """Yield the statements of a script, which end at the end of a line."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
