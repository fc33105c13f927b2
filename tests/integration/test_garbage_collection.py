"""Garbage goes, and nothing else does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from herdbook_server import errors
from herdbook_server.artifacts import admission, garbage
from herdbook_server.artifacts.direct import DirectTransfers
from herdbook_server.artifacts.downloads import Downloads
from herdbook_server.artifacts.garbage import GarbageCollector
from herdbook_server.artifacts.uploads import Uploads
from herdbook_server.ports.chunks import (
    ChunkStore,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
)
from herdbook_server.ports.database import Database
from herdbook_server.ports.direct import DirectAccess
from herdbook_server.ports.values import ChunkRef, Description, File
from herdbook_server.registry import retention
from herdbook_server.registry.aliases import AliasRegistry
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.events import EventLog, EventPage
from herdbook_server.registry.models import ModelRegistry
from herdbook_server.registry.retention import RETENTION_SECONDS, Retention
from herdbook_server.registry.versions import Registration, VersionRegistry
from herdbook_server.storage.chunks.local import LocalChunkStore
from herdbook_server.storage.sql.postgres import PostgresDatabase
from herdbook_server.storage.sql.sqlite import SqliteDatabase
from herdbook_server.upkeep import Upkeep
from tests.unit.artifacts.memory import MemoryAccess, ref

MODEL = "fraud/tc"
ALICE = Caller("alice")
GRACE_SECONDS = 24 * 60 * 60.0


@dataclass
class Clock:
    """Moves when a test says so."""

    us: int = 1_700_000_000_000_000

    def now_us(self) -> int:
        return self.us

    def pass_days(self, days: float) -> None:
        self.pass_minutes(days * 24 * 60)

    def pass_minutes(self, minutes: float) -> None:
        self.us += int(minutes * 60 * 1_000_000)


@dataclass
class Barn:
    """A database, a store, and what works on them."""

    database: Database
    chunks: ChunkStore
    clock: Clock = field(default_factory=Clock)
    retention_seconds: float = RETENTION_SECONDS

    def __post_init__(self) -> None:
        made = {"database": self.database, "clock": self.clock}
        self.uploads = Uploads(chunks=self.chunks, **made)
        self.access = MemoryAccess(self.chunks)
        self.direct = DirectTransfers(access=self.access, **made)
        self.downloads = Downloads(database=self.database, chunks=self.chunks)
        self.versions = VersionRegistry(**made)
        self.collector = GarbageCollector(
            chunks=self.chunks,
            grace_seconds=GRACE_SECONDS,
            retention=Retention(seconds=self.retention_seconds, **made),
            **made,
        )

    async def upload(self, *chunks: bytes) -> None:
        async def batches() -> AsyncIterator[Sequence[tuple[bytes, bytes]]]:
            yield [(sha256(data), data) for data in chunks]

        await self.uploads.upload(MODEL, batches())

    async def upload_directly(self, *chunks: bytes) -> None:
        """Bring chunks to the store, and have them confirmed."""
        refs = [ref(data) for data in chunks]
        signed = await self.direct.sign_uploads(MODEL, refs)
        self.access.bring(signed.requests, chunks)
        await self.direct.confirm(MODEL, refs, signed.proof)

    async def register(self, *chunks: bytes) -> int:
        refs = tuple(ChunkRef(sha256(data), len(data)) for data in chunks)
        registration = Registration(MODEL, Description(), files=(File("model.bin", refs),))
        return (await self.versions.register(ALICE, registration)).number

    async def events(self, *, kind: str, after_revision: int = 0) -> EventPage:
        log = EventLog(database=self.database)
        return await log.search(filter=f"kind = '{kind.lower()}'", after_revision=after_revision)

    async def stored(self) -> set[bytes]:
        return {chunk.digest async for chunk in self.chunks.list_chunks()}


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.fixture(params=["sqlite", "postgres"])
async def barn(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Barn]:
    async with AsyncExitStack() as stack:
        database: Database
        if request.param == "sqlite":
            database = await SqliteDatabase.open(tmp_path / "herdbook.sqlite3")
        else:
            database = await PostgresDatabase.open(request.getfixturevalue("postgres_database"))
        stack.push_async_callback(database.close)
        await database.migrate()
        chunks = LocalChunkStore(tmp_path / "artifacts")
        await chunks.open()
        stack.push_async_callback(chunks.close)
        yield Barn(database, chunks)


async def test_what_no_version_lists_goes_after_the_grace_time(barn: Barn) -> None:
    await barn.upload(b"garbage", b"kept")
    await barn.register(b"kept")
    barn.clock.pass_days(0.9)
    assert (await barn.collector.collect(apply=True)).chunk_count == 0
    barn.clock.pass_days(0.2)
    collected = await barn.collector.collect(apply=True)
    assert (collected.chunk_count, collected.size_bytes) == (1, len(b"garbage"))
    assert await barn.stored() == {sha256(b"kept")}


async def test_what_clients_brought_and_nobody_confirmed_goes_after_an_hour(barn: Barn) -> None:
    discarded_before: list[int] = []

    class Direct:
        async def discard_before(self, before_us: int) -> None:
            discarded_before.append(before_us)

    collector = GarbageCollector(
        database=barn.database,
        chunks=barn.chunks,
        clock=barn.clock,
        direct=cast("DirectAccess", Direct()),
    )
    await collector.collect(apply=False)
    assert discarded_before == []
    await collector.collect(apply=True)
    assert discarded_before == [barn.clock.now_us() - 3_600_000_000]


async def test_a_dry_run_tells_what_would_go_and_deletes_nothing(barn: Barn) -> None:
    await barn.upload(b"garbage", b"more garbage")
    barn.clock.pass_days(2)
    for _ in range(2):
        collected = await barn.collector.collect(apply=False)
        assert (collected.chunk_count, collected.deleted) == (2, False)
    assert len(await barn.stored()) == 2


async def test_what_a_client_asks_for_is_spared(barn: Barn) -> None:
    await barn.upload(b"asked for", b"forgotten")
    barn.clock.pass_days(2)
    assert not await barn.uploads.find_missing(MODEL, [sha256(b"asked for")])
    await barn.collector.collect(apply=True)
    assert await barn.stored() == {sha256(b"asked for")}
    assert await barn.register(b"asked for") == 1


async def test_what_went_is_missing_and_can_come_back(barn: Barn) -> None:
    await barn.upload(b"garbage")
    barn.clock.pass_days(2)
    await barn.collector.collect(apply=True)
    assert await barn.uploads.find_missing(MODEL, [sha256(b"garbage")])
    with pytest.raises(errors.ChunksMissing):
        await barn.register(b"garbage")
    await barn.upload(b"garbage")
    assert await barn.register(b"garbage") == 1
    assert await barn.stored() == {sha256(b"garbage")}


async def test_a_grace_time_shorter_than_the_one_set_is_of_no_effect(barn: Barn) -> None:
    await barn.upload(b"garbage")
    barn.clock.pass_days(0.5)
    assert (await barn.collector.collect(apply=True, grace_seconds=0)).chunk_count == 0
    assert (await barn.collector.collect(apply=True, grace_seconds=-1)).chunk_count == 0
    barn.clock.pass_days(1)
    longer = await barn.collector.collect(apply=True, grace_seconds=10 * GRACE_SECONDS)
    assert longer.chunk_count == 0
    assert (await barn.collector.collect(apply=True)).chunk_count == 1


async def test_the_chunks_of_a_version_that_can_be_restored_stay(barn: Barn) -> None:
    await barn.upload(b"deleted")
    await barn.register(b"deleted")
    await barn.versions.delete(ALICE, f"{MODEL}:1")
    barn.clock.pass_days(29)
    await barn.collector.collect(apply=True)
    assert await barn.stored() == {sha256(b"deleted")}


async def test_what_cannot_be_deleted_holds_up_neither_the_rest_nor_who_uploads_it(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await barn.upload(b"stuck", b"garbage")
    barn.clock.pass_days(2)
    delete = barn.chunks.delete

    async def leave_one(digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        stuck = {sha256(b"stuck")} & set(digests)
        await delete([digest for digest in digests if digest not in stuck])
        return dict.fromkeys(stuck, StoreMisconfigured("The store refuses."))

    with monkeypatch.context() as patch:
        patch.setattr(barn.chunks, "delete", leave_one)
        for _ in range(2):
            with pytest.raises(errors.StoreUnavailable):
                await barn.collector.collect(apply=True)
            assert await barn.stored() == {sha256(b"stuck")}
        assert await barn.uploads.find_missing(MODEL, [sha256(b"stuck")])
        assert (await barn.collector.collect(apply=False)).chunk_count == 1
    assert (await barn.collector.collect(apply=True)).chunk_count == 1
    assert await barn.stored() == set()


async def test_what_may_be_deleted_yet_holds_up_no_other_and_is_taken_over(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "CHUNKS_AT_ONCE", 1)
    await barn.upload(b"stuck", b"garbage", b"more garbage")
    barn.clock.pass_days(2)
    delete = barn.chunks.delete

    async def leave_one(digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        stuck = {sha256(b"stuck")} & set(digests)
        await delete([digest for digest in digests if digest not in stuck])
        return dict.fromkeys(stuck, StoreUnavailable("The disk is slow."))

    with monkeypatch.context() as patch:
        patch.setattr(barn.chunks, "delete", leave_one)
        with pytest.raises(errors.StoreUnavailable):
            await barn.collector.collect(apply=True)
    assert await barn.stored() == {sha256(b"stuck")}
    assert (await barn.collector.collect(apply=True)).chunk_count == 0
    barn.clock.pass_days(1)
    assert (await barn.collector.collect(apply=True)).chunk_count == 1
    assert await barn.stored() == set()


async def test_a_deletion_that_hangs_is_tried_after_all_others(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "CHUNKS_AT_ONCE", 1)
    # Enough for a busy disk to delete two chunks.
    monkeypatch.setattr(garbage, "DELETION_SECONDS", 2.0)
    await barn.upload(b"stuck")
    barn.clock.pass_days(0.1)
    await barn.upload(b"garbage", b"more garbage")
    barn.clock.pass_days(2)
    delete = barn.chunks.delete

    async def hang_in_one(digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        if sha256(b"stuck") in digests:
            await asyncio.Event().wait()
        return await delete(digests)

    monkeypatch.setattr(barn.chunks, "delete", hang_in_one)
    for left in ({b"stuck", b"garbage", b"more garbage"}, {b"stuck"}):
        with pytest.raises(errors.StoreUnavailable):
            await barn.collector.collect(apply=True)
        assert await barn.stored() == set(map(sha256, left))
        barn.clock.pass_days(2)


async def test_a_store_that_is_away_is_not_asked_for_everything(
    barn: Barn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(garbage, "CHUNKS_AT_ONCE", 10)
    await barn.upload(*(b"garbage %d" % number for number in range(30)))
    barn.clock.pass_days(2)
    asked: list[Sequence[bytes]] = []

    async def delete_nothing(digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        asked.append(digests)
        return dict.fromkeys(digests, StoreUnavailable("Slow down."))

    monkeypatch.setattr(barn.chunks, "delete", delete_nothing)
    with pytest.raises(errors.StoreUnavailable):
        await barn.collector.collect(apply=True)
    assert len(asked) == 1
    (message,) = caplog.messages
    assert message.startswith("10 deletions of garbage failed for now: Slow down. ")


async def test_what_could_not_be_deleted_is_uploaded_at_once(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await barn.upload(b"stuck")
    barn.clock.pass_days(2)

    async def refuse(digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        return dict.fromkeys(digests, StoreMisconfigured("The store refuses."))

    with monkeypatch.context() as patch:
        patch.setattr(barn.chunks, "delete", refuse)
        with pytest.raises(errors.StoreUnavailable):
            await barn.collector.collect(apply=True)
    await barn.upload(b"stuck")
    assert await barn.register(b"stuck") == 1
    assert (await barn.collector.collect(apply=True)).chunk_count == 0


@pytest.fixture
async def interrupted(barn: Barn, monkeypatch: pytest.MonkeyPatch) -> Barn:
    """A collection condemned a chunk, and ended before it deleted anything."""
    await barn.upload(b"garbage")
    barn.clock.pass_days(2)

    async def fail(_: Sequence[bytes]) -> None:
        raise StoreUnavailable("The store is away.")

    with monkeypatch.context() as patch:
        patch.setattr(barn.chunks, "delete", fail)
        with pytest.raises(errors.StoreUnavailable):
            await barn.collector.collect(apply=True)
    return barn


async def test_a_collection_that_was_interrupted_is_finished_by_the_next(interrupted: Barn) -> None:
    assert (await interrupted.collector.collect(apply=True)).chunk_count == 0
    interrupted.clock.pass_minutes(5.1)
    assert (await interrupted.collector.collect(apply=True)).chunk_count == 1
    assert not await interrupted.stored()


async def test_what_an_interrupted_collection_condemned_can_be_pushed_again(
    interrupted: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(admission, "_DELETION_POLLS", 2)
        with pytest.raises(errors.StoreUnavailable):
            await interrupted.upload(b"garbage")
    interrupted.clock.pass_minutes(5.1)
    assert await _push(interrupted, b"garbage") == 1
    interrupted.clock.pass_days(2)
    assert (await interrupted.collector.collect(apply=True)).chunk_count == 0


async def test_a_collection_gives_up_what_takes_the_store_too_long(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await barn.upload(b"garbage")
    barn.clock.pass_days(2)

    async def hang(_: Sequence[bytes]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(garbage, "DELETION_SECONDS", 0.2)
    monkeypatch.setattr(barn.chunks, "delete", hang)
    with pytest.raises(errors.StoreUnavailable):
        await barn.collector.collect(apply=True)


async def test_pushes_beside_collections_lose_nothing(barn: Barn) -> None:
    """Every push is of bytes that have just become garbage, while garbage is collected."""
    contents = [f"model {number}".encode() for number in range(8)]
    await barn.upload(*contents)
    for turn in range(5):
        barn.clock.pass_days(2)
        collections = [barn.collector.collect(apply=True) for _ in range(2)]
        pushes = [_push(barn, data + bytes(turn)) for data in contents]
        repushes = [_push(barn, data) for data in contents]
        results = await asyncio.gather(*collections, *pushes, *repushes)
        for number in results[2:]:
            pieces = barn.downloads.read_file(f"{MODEL}:{number}", "model.bin", offset=0, limit=0)
            assert b"".join([piece.data async for piece in pieces]).startswith(b"model ")


async def _push(barn: Barn, data: bytes) -> int:
    """Push as a client does: again, if something went missing meanwhile."""
    while True:
        if await barn.uploads.find_missing(MODEL, [sha256(data)]):
            await barn.upload(data)
        try:
            return await barn.register(data)
        except errors.ChunksMissing:
            continue


async def test_a_version_that_was_deleted_long_ago_loses_its_files_alone(barn: Barn) -> None:
    await barn.upload(b"shared", b"its own")
    for chunks in ((b"shared", b"its own"), (b"shared",)):
        await barn.register(*chunks)
    kept = await barn.versions.get(f"{MODEL}:1")
    await barn.versions.delete(ALICE, f"{MODEL}:1")
    barn.clock.pass_days(29)
    assert (await barn.collector.collect(apply=True)).purged_version_count == 0
    assert (await barn.collector.collect(apply=False)).purged_version_count == 0
    barn.clock.pass_days(2)
    assert (await barn.collector.collect(apply=False)).purged_version_count == 1
    collected = await barn.collector.collect(apply=True)
    assert (collected.purged_version_count, collected.chunk_count) == (1, 1)
    assert await barn.stored() == {sha256(b"shared")}
    purged = await barn.versions.get(f"{MODEL}:1", show_deleted=True)
    assert purged.purged_at_us == barn.clock.now_us()
    assert (purged.contents, purged.about) == (kept.contents, kept.about)
    with pytest.raises(errors.VersionPurged):
        await barn.versions.restore(ALICE, f"{MODEL}:1")
    assert (await barn.collector.collect(apply=True)).purged_version_count == 0
    (event,) = (await barn.events(kind="VERSION_PURGED")).items
    assert (event.version, event.actor, event.reason) == (1, "herdbook", "retention")


async def test_an_older_server_cannot_restore_a_purged_version(barn: Barn) -> None:
    """It knows nothing of purges, and would give a version without files."""
    await barn.upload(b"chunk")
    await barn.register(b"chunk")
    await barn.versions.delete(ALICE, f"{MODEL}:1")
    barn.clock.pass_days(31)
    await barn.collector.collect(apply=True)
    purged = await barn.versions.get(f"{MODEL}:1", show_deleted=True)
    with pytest.raises(Exception, match=r"(?i)check"):
        async with barn.database.write() as records:
            await records.versions.save(replace(purged, deleted_at_us=None))


async def test_the_files_of_a_purged_version_can_be_registered_anew(barn: Barn) -> None:
    await barn.upload(b"chunk")
    await barn.register(b"chunk")
    await barn.versions.delete(ALICE, f"{MODEL}:1")
    barn.clock.pass_days(31)
    await barn.collector.collect(apply=True)
    with pytest.raises(errors.ChunksMissing):
        await barn.register(b"chunk")
    await barn.upload(b"chunk")
    assert await barn.register(b"chunk") == 2
    barn.clock.pass_days(31)
    await barn.collector.collect(apply=True)
    assert await barn.stored() == {sha256(b"chunk")}


async def test_the_versions_of_a_model_that_was_deleted_long_ago_are_purged(barn: Barn) -> None:
    models = ModelRegistry(database=barn.database, clock=barn.clock)
    aliases = AliasRegistry(database=barn.database, clock=barn.clock)
    await barn.upload(b"chunk")
    await barn.register(b"chunk")
    await aliases.set(ALICE, MODEL, "champion", 1)
    await models.delete(ALICE, MODEL, force=True)
    barn.clock.pass_days(31)
    assert (await barn.collector.collect(apply=True)).purged_version_count == 1
    assert await barn.stored() == set()
    restored = await models.restore(ALICE, MODEL)
    assert (restored.latest_version, restored.version_count) == (0, 0)
    with pytest.raises(errors.AliasNotFound):
        await aliases.get(MODEL, "champion")
    await barn.upload(b"chunk")
    assert await barn.register(b"chunk") == 2


async def test_what_is_restored_meanwhile_is_not_purged(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await barn.upload(b"chunk")
    await barn.register(b"chunk")
    await barn.versions.delete(ALICE, f"{MODEL}:1")
    barn.clock.pass_days(31)
    expired = Retention._expired

    async def restore_then(retention: Retention) -> Sequence[tuple[str, int]]:
        found = await expired(retention)
        await barn.versions.restore(ALICE, f"{MODEL}:1")
        return found

    monkeypatch.setattr(Retention, "_expired", restore_then)
    assert (await barn.collector.collect(apply=True)).purged_version_count == 0
    assert await barn.stored() == {sha256(b"chunk")}


async def test_many_versions_are_purged_in_several_writes(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PURGED_AT_ONCE", 2)
    await barn.upload(b"chunk")
    for number in range(1, 6):
        await barn.register(b"chunk")
        await barn.versions.delete(ALICE, f"{MODEL}:{number}")
    barn.clock.pass_days(31)
    assert (await barn.collector.collect(apply=True)).purged_version_count == 5
    events = (await barn.events(kind="VERSION_PURGED")).items
    assert [event.version for event in events] == [1, 2, 3, 4, 5]
    assert len({event.revision for event in events}) == 3


async def test_without_an_end_of_retention_nothing_is_purged(barn: Barn) -> None:
    endless = Retention(database=barn.database, clock=barn.clock, seconds=0)
    await barn.upload(b"chunk")
    await barn.register(b"chunk")
    await barn.versions.delete(ALICE, f"{MODEL}:1")
    barn.clock.pass_days(10_000)
    assert (await endless.count(), await endless.purge(ALICE)) == (0, 0)
    assert (await barn.versions.restore(ALICE, f"{MODEL}:1")).deleted_at_us is None


async def test_one_server_of_many_collects_garbage_now_and_then(barn: Barn) -> None:
    def server(interval_seconds: float = GRACE_SECONDS) -> Upkeep:
        return Upkeep(
            database=barn.database,
            clock=barn.clock,
            garbage_collector=barn.collector,
            gc_interval_seconds=interval_seconds,
        )

    servers = [server() for _ in range(3)]
    await barn.upload(b"garbage")
    barn.clock.pass_days(2)
    assert not await server(interval_seconds=0).collect_garbage()
    assert await barn.stored()
    collected = await asyncio.gather(*(each.collect_garbage() for each in servers))
    assert sorted(collected) == [False, False, True]
    assert not await barn.stored()
    barn.clock.pass_days(0.9)
    assert not await servers[1].collect_garbage()
    barn.clock.pass_days(0.2)
    assert await servers[1].collect_garbage()


async def test_a_collection_that_failed_is_taken_up_by_another_server_in_an_hour(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"database": barn.database, "clock": barn.clock, "garbage_collector": barn.collector}
    upkeep = Upkeep(gc_interval_seconds=GRACE_SECONDS, **made)
    await barn.upload(b"garbage")
    barn.clock.pass_days(2)
    with monkeypatch.context() as patch:
        patch.setattr(LocalChunkStore, "delete", is_away)
        with pytest.raises(errors.StoreUnavailable):
            await upkeep.collect_garbage()
    assert not await upkeep.collect_garbage()
    barn.clock.pass_minutes(61)
    assert await upkeep.collect_garbage()
    assert not await barn.stored()


async def is_away(*_: object) -> None:
    raise StoreUnavailable("The store is away.")
