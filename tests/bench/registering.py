"""How many versions a server registers."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import grpc

from herdbook.v1.manifest_pb2 import File
from herdbook.v1.version_pb2_grpc import VersionServiceStub
from tests.bench.databases import empty_database
from tests.bench.load import Call, calls_per_second, own_channel
from tests.bench.measuring import Row, take_async_turns
from tests.bench.options import Options
from tests.bench.seeding import registration, upload_file
from tests.bench.servers import Server, full_server, new_directory, new_path

TITLE = "versions registered, against the smallest durable transaction: one row updated"
CLIENTS = (1, 8)
ROW = "CREATE TABLE bench_revision (revision BIGINT NOT NULL)"
FIRST = "INSERT INTO bench_revision VALUES (0)"
NEXT = "UPDATE bench_revision SET revision = revision + 1 RETURNING revision"

Measure = Callable[[float], Awaitable[float]]
"""From a duration in seconds to a rate."""


async def run(options: Options) -> list[Row]:
    """Measure every engine and every number of clients."""
    rows: list[Row] = []
    for engine in options.engines:
        home = new_directory(options.home, engine)
        with empty_database(engine) as database, full_server(home, database=database) as server:
            rows += [
                await compare(server, engine, clients, raw=database, options=options)
                for clients in CLIENTS
            ]
    return rows


async def compare(server: Server, engine: str, clients: int, *, raw: str, options: Options) -> Row:
    """Measure one number of clients."""
    async with contextlib.AsyncExitStack() as stack:
        file = new_path(options.home, "raw.sqlite")
        updates = sqlite_updates(file) if engine == "sqlite" else postgres_updates(raw, clients)
        baseline = await stack.enter_async_context(updates)
        channels = [
            await stack.enter_async_context(own_channel(server.address)) for _ in range(clients)
        ]
        callers = [await register_call(channel, f"herd/m{n}") for n, channel in enumerate(channels)]
        turns = await take_async_turns(
            baseline=lambda: baseline(options.seconds),
            subject=lambda: calls_per_second(callers, seconds=options.seconds),
            rounds=options.rounds,
        )
    name = "1 client" if clients == 1 else f"{clients} clients"
    return turns.compare(f"{engine}, {name}", baseline="row updates", unit="/s", better="higher")


async def register_call(channel: grpc.aio.Channel, model: str) -> Call:
    """Return a call that registers the next version of a model."""
    method = VersionServiceStub(channel).RegisterVersion
    file: File = await upload_file(channel, model)
    return lambda: method(registration(model, file))


@contextlib.asynccontextmanager
async def postgres_updates(dsn: str, clients: int) -> AsyncIterator[Measure]:
    """Update one row over as many connections as there are clients."""
    async with asyncpg.create_pool(dsn, min_size=clients, max_size=clients) as pool:
        await pool.execute(f"DROP TABLE IF EXISTS bench_revision; {ROW}; {FIRST}")
        connections: Sequence[asyncpg.Connection] = [await pool.acquire() for _ in range(clients)]
        updates: list[Call] = [lambda c=each: c.fetchval(NEXT) for each in connections]
        yield lambda seconds: calls_per_second(updates, seconds=seconds)
        for connection in connections:
            await pool.release(connection)


@contextlib.asynccontextmanager
async def sqlite_updates(path: Path) -> AsyncIterator[Measure]:
    """Update one row over one connection, as SQLite has one writer at a time."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection):
        connection.executescript(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {ROW}; {FIRST}"
        )

        async def update() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(NEXT).fetchall()
            connection.execute("COMMIT")

        yield lambda seconds: calls_per_second([update], seconds=seconds)
