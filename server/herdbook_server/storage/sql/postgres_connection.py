"""Connections to PostgreSQL."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.storage.sql.connection import Row, Value
from herdbook_server.storage.sql.postgres_errors import DRIVER_ERRORS, is_gone, translate
from herdbook_server.storage.sql.reading import ReadOnly

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

ACQUIRE_SECONDS: Final = 10.0
"""How long to wait for an idle connection, or for a new one."""

READERS_KEPT: Final = 4
"""How many connections stay with the reads, of at most half of the pool's."""

ROLLBACK_SECONDS: Final = 5.0
"""How long a connection may take to leave a transaction before it is given up."""

LOCKS: Final = 0x48657264
"""First half of the keys of advisory locks, so that ours are told from those of others."""

SETTINGS: Final = """
    SELECT set_config('idle_in_transaction_session_timeout', '30s', false),
        set_config('jit', 'off', false),
        set_config('enable_seqscan', 'off', false),
        set_config('enable_hashjoin', 'off', false),
        set_config('enable_mergejoin', 'off', false),
        set_config('tcp_keepalives_idle', '15', false),
        set_config('tcp_keepalives_interval', '5', false),
        set_config('tcp_keepalives_count', '3', false),
        set_config('application_name', 'herdbook', false)"""
"""Settings of each connection.

A process that vanishes in the middle of a write keeps the others waiting for seconds only. All our
statements follow indexes from few rows to few rows; other ways to scan and to join are what the
planner falls for as long as it has no statistics.
"""

TCP_OPTIONS: Final = {
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,
}
"""How long silence of the peer is borne, in seconds, and what was sent unheard, in milliseconds."""

if TYPE_CHECKING:
    Driver = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]


async def prepare(connection: Driver) -> None:
    """Set up a new connection of the pool."""
    keep_alive(connection)
    await connection.execute(SETTINGS)


def keep_alive(connection: Driver) -> None:
    """Let the operating system notice a peer that is gone."""
    transport: Any = getattr(connection, "_transport")  # noqa: B009 - asyncpg has no option for it
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family == getattr(socket, "AF_UNIX", None):
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in TCP_OPTIONS.items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def no_reset(connection: Driver) -> None:
    """Leave a connection as it is: we set nothing that outlives a transaction."""


class PostgresConnection:
    """Runs statements on one connection; implements `Connection`."""

    def __init__(self, connection: Driver) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        """See `Connection`."""
        rows: Sequence[Row] = await self._run(lambda one: one.fetch(sql, *values))
        return rows

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """See `Connection`."""
        row: Row | None = await self._run(lambda one: one.fetchrow(sql, *values))
        return row

    async def execute(self, sql: str, *values: Value) -> int:
        """See `Connection`."""
        status = await self._run(lambda one: one.execute(sql, *values))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """See `Connection`."""
        await self._run(lambda one: one.executemany(sql, rows))

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]
    ) -> None:
        """See `Connection`."""
        names = list(columns)
        await self._run(lambda one: one.copy_records_to_table(table, records=rows, columns=names))

    async def share(self, gate: int) -> None:
        """See `Connection`."""
        await self.fetch("SELECT pg_advisory_xact_lock_shared($1, $2)", LOCKS, gate)

    async def take(self, gate: int) -> None:
        """See `Connection`."""
        await self.fetch("SELECT pg_advisory_xact_lock($1, $2)", LOCKS, gate)

    def searching(self) -> AbstractAsyncContextManager[None]:
        """See `Connection`."""
        return nullcontext()

    async def run_script(self, script: str) -> None:
        """Run several statements within the transaction."""
        await self.execute(script)

    async def leave_transaction(self) -> None:
        """Roll back what was not committed; give the connection up if it does not obey."""
        try:
            if self._connection.is_in_transaction():
                await self._connection.execute("ROLLBACK", timeout=ROLLBACK_SECONDS)
        except DRIVER_ERRORS:
            give_up(self._connection)

    async def _run(self, work: Callable[[Driver], Awaitable[Any]]) -> Any:
        try:
            return await work(self._connection)
        except DRIVER_ERRORS as error:
            give_up_if_broken(self._connection, error)
            raise translate(error) from error


class PooledReads(ReadOnly):
    """Runs each statement on a connection of its own from the pool; implements `Connection`.

    A few connections are kept between reads: to acquire one costs as much as a small read does.
    Connections that turn out to be gone are replaced.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(searches_at_once=max(1, pool.get_max_size() // 2))
        self._pool = pool
        self._kept: list[PoolConnectionProxy[asyncpg.Record]] = []
        self._keep_max = min(READERS_KEPT, pool.get_max_size() // 2)

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        """See `Connection`."""
        rows: Sequence[Row] = await self._retried(lambda one: one.fetch(sql, *values))
        return rows

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """See `Connection`."""
        row: Row | None = await self._retried(lambda one: one.fetchrow(sql, *values))
        return row

    async def close(self) -> None:
        """Give all connections back; those in use follow when their reads end."""
        self._keep_max = 0
        while self._kept:
            await give_back(self._pool, self._kept.pop())

    async def _retried(self, work: Callable[[Driver], Awaitable[Any]]) -> Any:
        """Run a read on a connection, and on another one for each that is gone."""
        for left in reversed(range(attempts(self._pool))):
            connection = self._kept.pop() if self._kept else await acquire(self._pool)
            keep = False
            try:
                answer = await work(connection)
                keep = len(self._kept) < self._keep_max
            except DRIVER_ERRORS as error:
                give_up_if_broken(connection, error)
                if not (left and is_gone(error)):
                    raise translate(error) from error
            else:
                return answer
            finally:
                # The pool waits for the end of what was cancelled; a reader would trip over it.
                if keep:
                    self._kept.append(connection)
                else:
                    await give_back(self._pool, connection)
        raise DatabaseUnavailable("The database does not answer.")


def attempts(pool: Pool) -> int:
    """Return how many connections to try: all of the pool's may be gone, and then a new one."""
    return pool.get_max_size() + 1


async def acquire(pool: Pool) -> PoolConnectionProxy[asyncpg.Record]:
    """Return a connection of the pool."""
    try:
        return await pool.acquire(timeout=ACQUIRE_SECONDS)
    except DRIVER_ERRORS as error:
        raise translate(error) from error


def give_up_if_broken(connection: Driver, error: Exception) -> None:
    """Close a connection that is gone, or whose answer is still to come, so that none reuses it."""
    if isinstance(error, TimeoutError) or is_gone(error):
        give_up(connection)


def give_up(connection: Driver) -> None:
    """Close a connection at once; the pool makes another."""
    with suppress(*DRIVER_ERRORS):
        connection.terminate()


async def give_back(pool: Pool, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
    """Return a connection to the pool, whatever state it is in."""
    with suppress(*DRIVER_ERRORS):
        await pool.release(connection)
