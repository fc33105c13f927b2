"""The use cases over both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from herdbook_server.ports.database import Database
from herdbook_server.ports.values import (
    ChunkRef,
    Description,
    Event,
    ReplicaReport,
    ReplicaState,
    Version,
)
from herdbook_server.registry.aliases import AliasRegistry
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.events import EventLog
from herdbook_server.registry.models import ModelRegistry
from herdbook_server.registry.stages import StageRegistry
from herdbook_server.registry.versions import Registration, VersionRegistry
from herdbook_server.storage.sql.postgres import PostgresDatabase
from herdbook_server.storage.sql.sqlite import SqliteDatabase

ADA = Caller("ada")
MODEL = "fraud/tc"


@dataclass(slots=True)
class StillClock:
    """Stands still until it is told otherwise."""

    time_us: int = 1_000_000

    def now_us(self) -> int:
        return self.time_us


@dataclass(slots=True)
class Registry:
    """All use cases over one database."""

    database: Database
    clock: StillClock = field(default_factory=StillClock)

    @property
    def models(self) -> ModelRegistry:
        return ModelRegistry(database=self.database, clock=self.clock)

    @property
    def versions(self) -> VersionRegistry:
        return VersionRegistry(database=self.database, clock=self.clock)

    @property
    def aliases(self) -> AliasRegistry:
        return AliasRegistry(database=self.database, clock=self.clock)

    @property
    def stages(self) -> StageRegistry:
        return StageRegistry(database=self.database, clock=self.clock)

    @property
    def events(self) -> EventLog:
        return EventLog(database=self.database)

    async def register(self, model: str = MODEL, **about: Any) -> Version:
        """Registers a version by reference."""
        return await self.versions.register(
            ADA, Registration(model, Description(**about), source_uri="s3://bucket/model")
        )

    async def happened(self, after_revision: int = 0) -> list[Event]:
        """All events after a revision."""
        return list((await self.events.search(after_revision=after_revision)).items)

    async def store_chunks(self, model: str, *chunks: ChunkRef) -> None:
        """Makes chunks known as uploaded for a model."""
        async with self.database.bookkeep() as records:
            await records.chunks.reserve(chunks, time_us=self.clock.time_us)
            digests = [chunk.digest for chunk in chunks]
            await records.chunks.commit(model, digests, time_us=self.clock.time_us)

    async def serve(self, version: int, *, lease_us: int = 10) -> None:
        """Makes a live replica serve a version of the usual model."""
        report = ReplicaReport(
            replica_id="r1",
            host="h",
            name="pod-1",
            reference=f"{MODEL}@champion",
            state=ReplicaState.SERVING,
            version=version,
            serving_version=version,
            serving_digest="",
            failure="",
            reported_at_us=self.clock.time_us,
            model=MODEL,
        )
        async with self.database.bookkeep() as records:
            await records.replicas.put([report], expires_at_us=self.clock.time_us + lease_us)


@pytest.fixture(params=["sqlite", "postgresql"])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Registry]:
    """The use cases over an empty database."""
    database: Database
    if request.param == "sqlite":
        database = await SqliteDatabase.open(tmp_path / "herdbook.db")
    else:
        database = await PostgresDatabase.open(request.getfixturevalue("postgres_database"))
    await database.migrate()
    yield Registry(database)
    await database.close()
