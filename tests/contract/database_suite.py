"""What every `Database` keeps to; each adapter's tests subclass these."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from herdbook_server.errors import DatabaseUnavailable, FieldInvalid
from herdbook_server.ports.values import EventKind
from tests.contract.database_rows import add_model, event, model, report, version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from herdbook_server.ports.database import Database

DEADLINE_SECONDS = 30


class RawDatabase(Protocol):
    """SQL without the code under test."""

    async def fetch(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a statement with parameters `$1` …."""

    async def execute(self, sql: str, *values: Any) -> None:
        """Run a statement and commit it."""


class Oops(Exception):
    """Raised within a block, to end it."""


class DatabaseTests:
    """Transactions. Subclasses provide the fixtures `database`, `neighbour` and `raw`.

    `database` is migrated, `neighbour` is another `Database` over the same rows, and `raw` reads
    and writes these without the code under test.
    """

    async def test_events_of_a_later_release_can_be_read(
        self, database: Database, raw: RawDatabase
    ) -> None:
        async with database.write() as records:
            await records.events.add([event(1)])
        await raw.execute("UPDATE events SET kind = 'gate_passed'")
        async with database.read() as records:
            (later,) = await records.events.after(0, limit=9)
        assert later.kind is EventKind.UNSPECIFIED

    async def test_the_first_write_has_revision_one(self, database: Database) -> None:
        async with database.write() as records:
            assert records.revision == 1
            await records.events.add([event(1)])
        assert await database.revision() == 1

    async def test_a_write_that_raises_leaves_no_trace_and_no_gap(
        self, database: Database, raw: RawDatabase
    ) -> None:
        with pytest.raises(Oops):  # noqa: PT012 - the block is what raises
            async with database.write() as records:
                await records.models.insert(model())
                await records.events.add([event(records.revision)])
                raise Oops
        assert await raw.fetch("SELECT name FROM models") == []
        assert await raw.fetch("SELECT revision FROM registry") == [(0,)]
        await add_model(database)
        assert await database.revision() == 1

    async def test_a_write_without_events_is_rolled_back(
        self, database: Database, raw: RawDatabase
    ) -> None:
        async with database.write() as records:
            await records.models.insert(model())
        assert await raw.fetch("SELECT name FROM models") == []
        assert await database.revision() == 0

    async def test_a_write_sees_its_own_rows_and_reads_do_not(self, database: Database) -> None:
        async with database.write() as records:
            await records.models.insert(model())
            assert await records.models.get("team/cow") == model()
            async with database.read() as reader:
                assert await reader.models.get("team/cow") is None
            await records.events.add([event(records.revision)])
        async with database.read() as reader:
            assert await reader.models.get("team/cow") == model()

    async def test_writes_of_two_databases_take_turns_and_count_without_gaps(
        self, database: Database, neighbour: Database, raw: RawDatabase
    ) -> None:
        await add_model(database)

        async def register(writer: Database, times: int) -> None:
            for _ in range(times):
                async with writer.write() as records:
                    number = await records.models.next_number("team/cow")
                    await asyncio.sleep(0)
                    await records.versions.insert(version(number))
                    await records.events.add([event(records.revision, version=number)])

        await asyncio.gather(*(register(db, 5) for db in (database, neighbour) * 4))
        rows = await raw.fetch("SELECT revision, version FROM events ORDER BY revision")
        assert [row[0] for row in rows] == list(range(1, 42))
        assert [row[1] for row in rows] == list(range(41))

    async def test_a_cancelled_write_leaves_no_trace_and_the_next_one_works(
        self, database: Database, raw: RawDatabase
    ) -> None:
        for steps in range(12):
            inside = asyncio.Event()

            async def write(inside: asyncio.Event = inside) -> None:
                async with database.write() as records:
                    inside.set()
                    await records.models.insert(model("team/lost"))
                    await asyncio.Event().wait()

            task = asyncio.create_task(write())
            if steps % 2:
                await asyncio.wait_for(inside.wait(), DEADLINE_SECONDS)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.wait_for(add_model(database), DEADLINE_SECONDS)
        assert await raw.fetch("SELECT name FROM models") == [("team/cow",)]

    async def test_a_write_cancelled_while_it_commits_is_there_or_not_and_is_never_half(
        self, database: Database, raw: RawDatabase
    ) -> None:
        for steps in range(10):
            name = f"team/cow{steps}"
            task = asyncio.create_task(add_model(database, name, versions=1))
            for _ in range(steps * 3):
                await asyncio.sleep(0.0005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        revisions = await raw.fetch("SELECT revision FROM events ORDER BY revision")
        assert [row[0] for row in revisions] == list(range(1, len(revisions) + 1))
        models = await raw.fetch("SELECT name FROM models ORDER BY name")
        assert models == await raw.fetch("SELECT model FROM versions ORDER BY model")
        assert len(models) == len(revisions)

    async def test_bookkeeping_takes_no_revision(
        self, database: Database, raw: RawDatabase
    ) -> None:
        async with database.bookkeep() as records:
            await records.replicas.put([report("r1")], expires_at_us=10)
        assert await raw.fetch("SELECT replica_id FROM replicas") == [("r1",)]
        assert await database.revision() == 0

    async def test_bookkeeping_that_raises_leaves_no_trace(
        self, database: Database, raw: RawDatabase
    ) -> None:
        with pytest.raises(Oops):  # noqa: PT012 - the block is what raises
            async with database.bookkeep() as records:
                await records.replicas.put([report("r1")], expires_at_us=10)
                raise Oops
        assert await raw.fetch("SELECT replica_id FROM replicas") == []

    async def test_waiting_ends_when_another_database_writes(
        self, database: Database, neighbour: Database
    ) -> None:
        waiting = asyncio.create_task(database.wait_for_change(0, timeout_seconds=DEADLINE_SECONDS))
        await add_model(neighbour)
        await asyncio.wait_for(waiting, DEADLINE_SECONDS / 2)
        assert await database.revision() == 1

    async def test_waiting_for_a_revision_that_has_passed_returns(self, database: Database) -> None:
        await add_model(database)
        await asyncio.wait_for(database.wait_for_change(0, timeout_seconds=600), DEADLINE_SECONDS)

    async def test_waiting_ends_at_its_timeout(self, database: Database) -> None:
        await asyncio.wait_for(database.wait_for_change(0, timeout_seconds=0.05), DEADLINE_SECONDS)
        assert await database.revision() == 0

    async def test_a_read_refuses_to_write(self, database: Database, raw: RawDatabase) -> None:
        async with database.read() as records:
            with pytest.raises(TypeError):
                await records.models.insert(model())
        assert await raw.fetch("SELECT name FROM models") == []

    async def test_a_database_without_schema_is_unavailable(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await raw.execute("DROP TABLE requests")
        with pytest.raises(DatabaseUnavailable, match="herdbook migrate"):
            async with database.read() as records:
                await records.requests.get("x")

    async def test_numbers_and_texts_that_cannot_be_stored_are_refused(
        self, database: Database
    ) -> None:
        async with database.read() as records:
            with pytest.raises(FieldInvalid):
                await records.versions.get("team/cow", 2**63)
            with pytest.raises(FieldInvalid):
                await records.models.get("\ud800")
