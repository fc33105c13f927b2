"""What a search costs among a hundred thousand versions."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from herdbook_server.ports.queries import (
    All,
    AnyOf,
    Comparison,
    Field,
    Query,
    SortKey,
)
from herdbook_server.ports.values import Contents, Description, Stage, Version
from herdbook_server.storage.sql import texts
from herdbook_server.storage.sql.postgres import PostgresDatabase
from herdbook_server.storage.sql.sqlite import SqliteDatabase
from herdbook_server.storage.sql.version_rows import STORED, to_row
from tests.bench.databases import empty_database
from tests.bench.measuring import Row, Turns, take_async_turns
from tests.bench.options import Options
from tests.bench.servers import new_directory

TITLE = "a page of 100 among many versions, against reading one version by its number"

MODELS = 20
REPEATS = 5

RMSE, NUMBER = Field("metrics", "rmse"), Field("number")
GOOD = Comparison(RMSE, "<", 7.0)
FRAUD = Comparison(Field("tags", "team"), "=", "fraud")
STAGING = Comparison(Field("stage"), "=", "staging")
PRODUCTION = Comparison(Field("stage"), "=", "production")
BEST = (SortKey(RMSE), SortKey(NUMBER, descending=True))
NEWEST = (SortKey(Field("created_at"), descending=True),)

QUERIES: Mapping[str, Query] = {
    "no filter": Query(None, (), 100),
    "newest of a model": Query(None, (SortKey(NUMBER, descending=True),), 100, model="team/m3"),
    "best of a model": Query(None, BEST, 100, model="team/m3"),
    "newest of all": Query(None, NEWEST, 100),
    "a metric below 7, best first": Query(GOOD, BEST, 100),
    "a tag of a tenth": Query(FRAUD, (), 100),
    "a tag of one": Query(Comparison(Field("tags", "run"), "=", "r77"), (), 100),
    "a stage": Query(STAGING, (), 100),
    "one of two stages": Query(AnyOf((STAGING, PRODUCTION)), (), 100),
    "a parameter's beginning": Query(Comparison(Field("params", "lr"), "prefix", "0.123"), (), 100),
    "metric, tag and stage": Query(All((GOOD, FRAUD, STAGING)), (), 100),
    "metric, tag and stage, best first": Query(All((GOOD, FRAUD, STAGING)), BEST, 100),
}


async def run(options: Options) -> list[Row]:
    """Measure every kind of search on every engine."""
    rows: list[Row] = []
    for engine in options.engines:
        home = new_directory(options.home, engine)
        with empty_database(engine) as location:
            async with opened(engine, location, home) as database:
                await fill(database, options.versions)
                for name, query in QUERIES.items():
                    turns = await take_turns(database, query, options)
                    rows.append(figure(turns, f"{engine}: {name}"))
    return rows


@asynccontextmanager
async def opened(engine: str, location: str, home: Path) -> AsyncIterator[Any]:
    """Open a database with its schema."""
    database: SqliteDatabase | PostgresDatabase
    if engine == "sqlite":
        database = await SqliteDatabase.open(home / "search.db")
    else:
        database = await PostgresDatabase.open(location)
    try:
        await database.migrate()
        yield database
    finally:
        await database.close()


async def take_turns(database: Any, query: Query, options: Options) -> Turns[float]:
    """Search and read in turns."""
    async with database.read() as records:
        return await take_async_turns(
            baseline=lambda: milliseconds(lambda: records.versions.get("team/m3", 77)),
            subject=lambda: milliseconds(lambda: records.versions.search(query)),
            rounds=options.rounds,
        )


async def milliseconds(work: Callable[[], Awaitable[object]]) -> float:
    """Return how long one of several runs takes."""
    began = time.perf_counter()
    for _ in range(REPEATS):
        await work()
    return 1e3 * (time.perf_counter() - began) / REPEATS


def figure(turns: Turns[float], name: str) -> Row:
    """Name what was measured."""
    return turns.compare(
        name, baseline="one version", unit="ms", better="lower", figure=lambda turn: turn
    )


async def fill(database: Any, count: int) -> None:
    """Insert models and versions in bulk, as registering them takes minutes."""
    numbered = list(enumerate(some_versions(count), start=1))
    each = count // MODELS
    async with database._transaction() as connection:
        await connection.execute_many(
            "INSERT INTO models (name, description, tags, author, created_at_us, updated_at_us, "
            "revision, latest_version, version_count, last_number) "
            "VALUES ($1, '', '{}', '', 0, 0, 1, $2, $2, $2)",
            [(f"team/m{index}", each) for index in range(MODELS)],
        )
        insert = connection.insert_many
        await insert("versions", STORED, (to_row(*pair) for pair in numbered))
        metrics = ((n, "rmse", one.about.metrics["rmse"]) for n, one in numbered)
        await insert("version_metrics", ("version_id", "key", "value"), metrics)
        for table in ("tags", "params"):
            rows = (
                (n, key, *texts.split(value))
                for n, one in numbered
                for key, value in getattr(one.about, table).items()
            )
            await insert(f"version_{table}", ("version_id", "key", "head", "rest"), rows)
        await connection.execute("UPDATE registry SET last_version_id = $1", count)
        await connection.execute("COMMIT")
        if database.engine == "postgresql":
            # Which it does by itself within minutes of that many changes.
            await connection.execute("ANALYZE")


def some_versions(count: int) -> Iterator[Version]:
    """Yield versions, of which few are good, fraud's or staged."""
    rng = random.Random(1)
    for place in range(count):
        team = "fraud" if rng.random() < 0.1 else f"team{rng.randrange(30)}"
        about = Description(
            tags={"team": team, "run": f"r{place}"},
            params={"lr": str(rng.random()), "depth": str(rng.randrange(10))},
            metrics={"rmse": rng.uniform(0, 100)},
            environment={"python": "3.11", "packages": {f"p{n}": "1.0" for n in range(20)}},
        )
        yield Version(
            model=f"team/m{place % MODELS}",
            number=place // MODELS + 1,
            about=about,
            contents=Contents(None, "s3://herd/cow", 7, 1),
            stage=rng.choices(list(Stage), [85, 5, 5, 5])[0],
            created_at_us=place,
            updated_at_us=place,
            deleted_at_us=None,
            revision=1,
        )
