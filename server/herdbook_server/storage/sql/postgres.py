"""The record in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Self

import asyncpg

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.database import WriteRecords
from herdbook_server.ports.records import Records
from herdbook_server.storage.sql import revisions
from herdbook_server.storage.sql.cancellation import finish
from herdbook_server.storage.sql.changes import Changes
from herdbook_server.storage.sql.listener import CHANNEL, Listener
from herdbook_server.storage.sql.migrate import load_migrations, migrate
from herdbook_server.storage.sql.postgres_connection import (
    ACQUIRE_SECONDS,
    PooledReads,
    PostgresConnection,
    acquire,
    attempts,
    give_back,
    give_up_if_broken,
    no_reset,
    prepare,
)
from herdbook_server.storage.sql.postgres_errors import DRIVER_ERRORS, is_gone, translate
from herdbook_server.storage.sql.records import SqlRecords, SqlWriteRecords

if TYPE_CHECKING:
    from herdbook_server.storage.sql.postgres_connection import Pool

COMMAND_SECONDS: Final = 60.0
"""How long a statement may take, the wait for locks included."""

BEGIN: Final = "BEGIN"

BEGIN_RELAXED: Final = "BEGIN; SET LOCAL synchronous_commit = off"

MIGRATION_GATE: Final = 2


class PostgresDatabase:
    """The record in PostgreSQL; implements `ports.database.Database`.

    Any number of processes may use one database. A connection that breaks is replaced: the call
    that finds it broken fails with DatabaseUnavailable unless nothing was asked of it yet.
    """

    engine: Final = "postgresql"
    """The engine's name."""

    def __init__(self, pool: Pool, dsn: str) -> None:
        self._pool = pool
        self._reads = PooledReads(pool)
        self._records = SqlRecords(self._reads)
        self._changes = Changes(self.revision)
        self._listener = Listener(
            lambda: asyncpg.connect(dsn, timeout=ACQUIRE_SECONDS), self._changes.passed
        )

    @classmethod
    async def open(cls, dsn: str, *, pool_size: int = 10) -> Self:
        """Connect to a database.

        The schema is left alone: see `migrate`.

        Raises:
            DatabaseUnavailable: The database does not answer or does not let us in.
        """
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=pool_size,
                init=prepare,
                reset=no_reset,
                timeout=ACQUIRE_SECONDS,
                command_timeout=COMMAND_SECONDS,
                max_cached_statement_lifetime=0,
                statement_cache_size=256,
            )
        except DRIVER_ERRORS as error:
            # For the operator, who starts the server: no caller ever sees it.
            reason = str(error) or type(error).__name__
            raise DatabaseUnavailable(f"The database cannot be reached: {reason}") from error
        except ValueError as error:
            raise DatabaseUnavailable("The database's DSN cannot be read.") from error
        return cls(pool, dsn)

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
        async with self._transaction(BEGIN if durable else BEGIN_RELAXED) as connection:
            yield SqlRecords(connection)
            await finish(connection.execute("COMMIT"))

    async def revision(self) -> int:
        """See `ports.database.Database`."""
        return await revisions.newest(self._reads)

    async def wait_for_change(self, revision: int, *, timeout_seconds: float) -> None:
        """See `ports.database.Database`."""
        await self._changes.wait(revision, timeout_seconds=timeout_seconds)

    async def migrate(self) -> int:
        """See `ports.database.Database`.

        Raises:
            SchemaRefused: The schema is not the work of the migrations of this release.
        """
        return await migrate(self._exclusive, load_migrations("postgres"))

    async def close(self) -> None:
        """See `ports.database.Database`. Waits a little for what is under way."""
        await self._listener.close()
        await self._reads.close()
        try:
            async with asyncio.timeout(ACQUIRE_SECONDS):
                await self._pool.close()
        except DRIVER_ERRORS:
            self._pool.terminate()

    async def _commit(self, connection: PostgresConnection, revision: int) -> None:
        # One round trip, and no notification of what is not committed.
        await connection.execute(f"NOTIFY {CHANNEL}, '{revision}'; COMMIT")
        self._changes.passed(revision)

    @asynccontextmanager
    async def _transaction(self, begin: str = BEGIN) -> AsyncIterator[PostgresConnection]:
        """Give a transaction that is rolled back unless the block commits it."""
        acquired = await self._begin(begin)
        connection = PostgresConnection(acquired)
        try:
            yield connection
        finally:
            await finish(self._end(acquired))

    async def _begin(self, begin: str) -> asyncpg.pool.PoolConnectionProxy[asyncpg.Record]:
        """Return a connection in a transaction; those that turn out to be gone are replaced."""
        for left in reversed(range(attempts(self._pool))):
            connection = await acquire(self._pool)
            try:
                await connection.execute(begin)
            except BaseException as error:
                if isinstance(error, DRIVER_ERRORS):
                    give_up_if_broken(connection, error)
                await finish(self._end(connection))
                if not isinstance(error, DRIVER_ERRORS):
                    raise
                if not (left and is_gone(error)):
                    raise translate(error) from error
            else:
                return connection
        raise DatabaseUnavailable("The database does not answer.")

    async def _end(self, connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> None:
        await PostgresConnection(connection).leave_transaction()
        await give_back(self._pool, connection)

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[PostgresConnection]:
        async with self._transaction() as connection:
            await connection.take(MIGRATION_GATE)
            yield connection
            await finish(connection.execute("COMMIT"))
