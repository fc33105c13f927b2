"""What every `Database` keeps to where chunks and manifests are concerned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from herdbook_server.ports.values import ChunkRef, Contents, File
from tests.contract.database_rows import chunk, digest_of, event, files, model, version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from herdbook_server.ports.database import Database, Records
    from tests.contract.database_suite import RawDatabase

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
LEASE_US = 300_000_000
"""How long what was condemned belongs to whoever condemned it."""

DEADLINE_SECONDS = 30


async def store(database: Database, model_name: str, *names: object, time_us: int = 0) -> None:
    """Reserve and commit chunks."""
    chunks = [chunk(name) for name in names]
    async with database.bookkeep() as records:
        await records.chunks.reserve(chunks, time_us=time_us)
        await records.chunks.commit(model_name, [one.digest for one in chunks], time_us=time_us)


async def condemn(
    records: Records, digests: Sequence[bytes], *, time_us: int = DAY_US
) -> Sequence[ChunkRef]:
    """Condemn what was not touched within the first day."""
    return await records.chunks.condemn(digests, before_us=DAY_US, time_us=time_us)


async def states(raw: RawDatabase) -> dict[bytes, str]:
    """Return the state of each chunk in the index."""
    return {bytes(row[0]): row[1] for row in await raw.fetch("SELECT digest, state FROM chunks")}


class ChunkIndexTests:
    """Subclasses provide the fixtures `database`, `neighbour` and `raw`."""

    async def test_a_chunk_is_known_to_the_model_that_it_was_committed_for(
        self, database: Database
    ) -> None:
        await store(database, "a", 1, 2)
        async with database.bookkeep() as records:
            asked = [digest_of(3), digest_of(2), digest_of(3), digest_of(1)]
            assert await records.chunks.missing("a", asked, time_us=1) == [digest_of(3)]
            assert await records.chunks.missing("b", asked[:2], time_us=1) == asked[:2]

    async def test_many_chunks_are_asked_for_at_once(self, database: Database) -> None:
        await store(database, "a", *range(0, 1200, 2))
        async with database.bookkeep() as records:
            asked = [digest_of(number) for number in range(1200)]
            assert await records.chunks.missing("a", asked, time_us=1) == asked[1::2]

    async def test_a_reserved_chunk_is_not_stored_before_it_is_committed(
        self, database: Database, raw: RawDatabase
    ) -> None:
        async with database.bookkeep() as records:
            assert await records.chunks.reserve([chunk(1)], time_us=0) == {digest_of(1): False}
            assert await records.chunks.missing("a", [digest_of(1)], time_us=0) == [digest_of(1)]
            assert await records.chunks.absent("a", [chunk(1)], time_us=0) == [digest_of(1)]
        assert await states(raw) == {digest_of(1): "writing"}
        await store(database, "a", 1)
        async with database.bookkeep() as records:
            assert await records.chunks.reserve([chunk(1)], time_us=0) == {digest_of(1): True}
            assert await records.chunks.absent("a", [chunk(1)], time_us=0) == []

    async def test_a_lost_chunk_is_missing_until_it_is_stored_again(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await store(database, "a", 1, 2)
        async with database.bookkeep() as records:
            assert await records.chunks.lose([digest_of(1), digest_of(3)]) == [digest_of(1)]
            assert await records.chunks.lose([digest_of(1)]) == []
        assert await states(raw) == {digest_of(1): "writing", digest_of(2): "stored"}
        async with database.bookkeep() as records:
            asked = [digest_of(1), digest_of(2)]
            assert await records.chunks.missing("a", asked, time_us=1) == [digest_of(1)]
            assert await records.chunks.absent("a", [chunk(1)], time_us=1) == [digest_of(1)]
        await store(database, "a", 1)
        async with database.bookkeep() as records:
            assert await records.chunks.absent("a", [chunk(1)], time_us=1) == []

    async def test_what_a_manifest_lists_is_expected_even_if_it_was_lost(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await store(database, "a", "a", "b", "unlisted")
        async with database.bookkeep() as records:
            await records.manifests.insert(digest_of("m"), files("a", "b"), time_us=0)
            for expected in (["a", "unlisted"], ["a"]):
                lost = await records.chunks.lose([digest_of("a"), digest_of("unlisted")])
                assert set(lost) == set(map(digest_of, expected))
            await records.chunks.reserve([chunk("under way")], time_us=0)
        async with database.read() as records:
            everything = await records.chunks.expected(after=b"", limit=9)
            assert [one.digest for one in everything] == sorted(map(digest_of, "ab"))
            size_bytes = sum(one.size_bytes for one in everything)
            assert await records.chunks.expected_total() == (2, size_bytes)
            first = everything[0].digest
            assert await records.chunks.expected(after=first, limit=1) == everything[1:]
        async with database.bookkeep() as records:
            await records.chunks.regain([digest_of(name) for name in ("a", "b", "unlisted", "c")])
        found = await states(raw)
        assert found == {
            digest_of("a"): "stored",
            digest_of("b"): "stored",
            digest_of("unlisted"): "writing",
            digest_of("under way"): "writing",
        }

    async def test_a_chunk_of_another_size_is_absent(self, database: Database) -> None:
        await store(database, "a", 1, 2)
        async with database.bookkeep() as records:
            asked = [chunk(1, 11), chunk(2), chunk(3)]
            absent = await records.chunks.absent("a", asked, time_us=0)
            assert absent == [digest_of(1), digest_of(3)]

    async def test_what_is_touched_is_no_garbage(self, database: Database) -> None:
        await store(database, "a", "asked", "reserved", "committed", "checked", "left")
        late = 2 * HOUR_US
        async with database.bookkeep() as records:
            await records.chunks.missing("a", [digest_of("asked")], time_us=late)
            await records.chunks.reserve([chunk("reserved")], time_us=late)
            await records.chunks.commit("b", [digest_of("committed")], time_us=late)
            await records.chunks.absent("a", [chunk("checked")], time_us=late)
        async with database.bookkeep() as records:
            assert await records.chunks.garbage(late, time_us=late, limit=9) == [chunk("left")]
            assert await records.chunks.garbage_total(late, time_us=late) == (1, 10)
            assert await records.chunks.garbage_total(late + 1, time_us=late) == (5, 50)
            everything = [
                digest_of(n) for n in ("asked", "reserved", "committed", "checked", "left")
            ]
            condemned = await records.chunks.condemn(everything, before_us=late, time_us=late)
            assert condemned == [chunk("left")]

    async def test_touches_within_an_hour_cost_no_write(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await store(database, "a", 1)
        async with database.bookkeep() as records:
            await records.chunks.missing("a", [digest_of(1)], time_us=HOUR_US)
            await records.chunks.reserve([chunk(1)], time_us=HOUR_US)
            await records.chunks.commit("a", [digest_of(1)], time_us=HOUR_US)
        assert await raw.fetch("SELECT touched_at_us FROM chunks") == [(0,)]

    async def test_a_chunk_that_a_manifest_lists_is_no_garbage(self, database: Database) -> None:
        await store(database, "a", "x", "y")
        async with database.bookkeep() as records:
            await records.manifests.insert(digest_of("manifest"), files("x"), time_us=0)
            found = await records.chunks.garbage(DAY_US, time_us=DAY_US, limit=9)
            assert found == [chunk("y")]
            both = [digest_of("x"), digest_of("y")]
            assert await condemn(records, both) == [chunk("y")]

    async def test_a_condemned_chunk_is_unknown_and_cannot_be_reserved_until_it_is_gone(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await store(database, "a", 1)
        async with database.bookkeep() as records:
            assert await condemn(records, [digest_of(1)]) == [chunk(1)]
        assert await raw.fetch("SELECT digest FROM model_chunks") == []
        async with database.bookkeep() as records:
            assert await records.chunks.missing("a", [digest_of(1)], time_us=DAY_US) == [
                digest_of(1)
            ]
            assert await records.chunks.reserve([chunk(1), chunk(2)], time_us=DAY_US) == {
                digest_of(2): False
            }
            await records.chunks.commit("a", [digest_of(1)], time_us=DAY_US)
            assert await records.chunks.absent("a", [chunk(1)], time_us=DAY_US) == [digest_of(1)]
        assert (await states(raw))[digest_of(1)] == "deleting"
        async with database.bookkeep() as records:
            await records.chunks.forget([digest_of(1), digest_of(2)], condemned_at_us=DAY_US)
            assert await records.chunks.reserve([chunk(1)], time_us=DAY_US) == {digest_of(1): False}
        assert await states(raw) == {digest_of(1): "writing", digest_of(2): "writing"}

    async def test_a_chunk_left_by_a_collection_that_ended_is_collected_by_a_later_one(
        self, database: Database
    ) -> None:
        await store(database, "a", 1)
        async with database.bookkeep() as records:
            await condemn(records, [digest_of(1)])
            soon, later = DAY_US + LEASE_US, DAY_US + LEASE_US + 1
            assert await records.chunks.garbage(DAY_US, time_us=soon, limit=9) == []
            assert await condemn(records, [digest_of(1)], time_us=soon) == []
            assert await records.chunks.garbage(DAY_US, time_us=later, limit=9) == [chunk(1)]
            assert await condemn(records, [digest_of(1)], time_us=later) == [chunk(1)]

    async def test_a_chunk_left_by_a_collection_that_ended_is_taken_over_by_an_upload(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await store(database, "a", 1)
        later = DAY_US + LEASE_US + 1
        async with database.bookkeep() as records:
            await condemn(records, [digest_of(1)])
            assert await records.chunks.reserve([chunk(1)], time_us=later - 1) == {}
            reserved = await records.chunks.reserve([chunk(1)], time_us=later)
            assert reserved == {digest_of(1): False}
            await records.chunks.forget([digest_of(1)], condemned_at_us=DAY_US)
        assert await states(raw) == {digest_of(1): "writing"}

    async def test_a_collection_does_not_forget_what_another_one_condemned_since(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await store(database, "a", 1)
        async with database.bookkeep() as records:
            await condemn(records, [digest_of(1)])
            await condemn(records, [digest_of(1)], time_us=DAY_US + LEASE_US + 1)
            await records.chunks.forget([digest_of(1)], condemned_at_us=DAY_US)
        assert await states(raw) == {digest_of(1): "deleting"}

    async def test_condemning_waits_for_whoever_is_about_to_list_the_chunk(
        self, database: Database, neighbour: Database, raw: RawDatabase
    ) -> None:
        await store(database, "a", "x")
        listed = asyncio.Event()
        go_on = asyncio.Event()

        async def register() -> None:
            async with database.bookkeep() as records:
                assert await records.chunks.absent("a", [chunk("x")], time_us=0) == []
                listed.set()
                await go_on.wait()
                await records.manifests.insert(digest_of("manifest"), files("x"), time_us=0)

        async def collect() -> list[ChunkRef]:
            async with neighbour.bookkeep() as records:
                return list(await condemn(records, [digest_of("x")]))

        registering = asyncio.create_task(register())
        await asyncio.wait_for(listed.wait(), DEADLINE_SECONDS)
        collecting = asyncio.create_task(collect())
        done, _ = await asyncio.wait({collecting}, timeout=0.2)
        assert not done
        go_on.set()
        await asyncio.wait_for(registering, DEADLINE_SECONDS)
        assert await asyncio.wait_for(collecting, DEADLINE_SECONDS) == []
        assert await states(raw) == {digest_of("x"): "stored"}

    async def test_uploads_and_collections_side_by_side_neither_block_nor_lose_anything(
        self, database: Database, neighbour: Database, raw: RawDatabase
    ) -> None:
        names = [str(number) for number in range(40)]
        await store(database, "a", *names)

        async def upload(writer: Database, order: int) -> None:
            mine = names[order:] + names[:order]
            for round_ in range(3):
                time_us = (round_ + 2) * 2 * HOUR_US
                async with writer.bookkeep() as records:
                    chunks = [chunk(name) for name in mine]
                    free = await records.chunks.reserve(chunks, time_us=time_us)
                    await records.chunks.commit(f"m{order}", list(free), time_us=time_us)
                async with writer.bookkeep() as records:
                    absent = set(await records.chunks.absent(f"m{order}", chunks, time_us=time_us))
                    kept = [name for name in mine if digest_of(name) not in absent]
                    manifest = digest_of((order, round_))
                    await records.manifests.insert(manifest, files(*kept[:20]), time_us=time_us)

        async def collect(writer: Database) -> None:
            for _ in range(4):
                async with writer.bookkeep() as records:
                    late = 10 * DAY_US
                    found = await records.chunks.garbage(late, time_us=late, limit=15)
                    digests = [one.digest for one in found]
                    gone = await records.chunks.condemn(digests, before_us=late, time_us=late)
                async with writer.bookkeep() as records:
                    gone_digests = [one.digest for one in gone]
                    await records.chunks.forget(gone_digests, condemned_at_us=late)

        uploads = [upload(db, order) for db in (database, neighbour) for order in (0, 9, 21)]
        collections = [collect(database), collect(neighbour)]
        await asyncio.wait_for(asyncio.gather(*uploads, *collections), 2 * DEADLINE_SECONDS)
        lost = await raw.fetch(
            "SELECT count(*) FROM manifest_chunks l "
            "LEFT JOIN chunks c ON c.digest = l.chunk_digest "
            "WHERE c.state IS NULL OR c.state <> 'stored'"
        )
        assert lost == [(0,)]


class ManifestTests:
    """Subclasses provide the fixtures `database`, `neighbour` and `raw`."""

    async def test_a_duty_is_taken_by_one_until_it_is_done_or_given_up(
        self, database: Database, neighbour: Database
    ) -> None:
        async def take(by: Database, time_us: int) -> bool:
            async with by.bookkeep() as records:
                return await records.duties.take(
                    "milking",
                    done_before_us=time_us - HOUR_US,
                    time_us=time_us,
                    until_us=time_us + 1000,
                )

        taken = await asyncio.gather(*(take(by, DAY_US) for by in (database, neighbour) * 4))
        assert sorted(taken) == [False] * 7 + [True]
        assert await take(neighbour, DAY_US + 1001)
        async with neighbour.bookkeep() as records:
            await records.duties.done("milking", time_us=DAY_US + 1500)
        assert not await take(database, DAY_US + 1500 + HOUR_US)
        assert await take(database, DAY_US + 1501 + HOUR_US)

    async def test_files_come_sorted_by_the_bytes_of_their_paths(self, database: Database) -> None:
        paths = ["b", "a/b", "a", "a.b", "é", "Z", "\U0001f404", "\uff21"]
        async with database.bookkeep() as records:
            await records.manifests.insert(digest_of("m"), files(*paths), time_us=0)
            found = await records.manifests.files(digest_of("m"), limit=100)
            in_order = sorted(paths, key=lambda path: path.encode())
            assert [file.path for file in found] == in_order
            later = await records.manifests.files(digest_of("m"), after=in_order[2], limit=2)
            assert [file.path for file in later] == in_order[3:5]

    async def test_a_file_keeps_its_chunks_in_order(self, database: Database) -> None:
        big = File("big", (chunk(2, 2**21), chunk(1, 1), chunk(2, 2**21)))
        empty = File("empty", ())
        async with database.bookkeep() as records:
            await records.manifests.insert(digest_of("m"), [big, empty], time_us=0)
        async with database.read() as records:
            assert await records.manifests.file(digest_of("m"), "big") == big
            assert await records.manifests.file(digest_of("m"), "empty") == empty
            assert await records.manifests.file(digest_of("m"), "none") is None
            asked = [digest_of(1), digest_of(2), digest_of(3)]
            listed = {digest_of(1): 1, digest_of(2): 2**21}
            assert await records.manifests.listed(digest_of("m"), asked) == listed

    async def test_a_manifest_that_two_store_at_once_is_there_once(
        self, database: Database, neighbour: Database, raw: RawDatabase
    ) -> None:
        async def insert(writer: Database) -> None:
            async with writer.bookkeep() as records:
                await records.manifests.insert(digest_of("m"), files("a", "b"), time_us=3)

        await asyncio.gather(*(insert(db) for db in (database, neighbour) * 4))
        assert await raw.fetch("SELECT path FROM manifest_files ORDER BY path") == [("a",), ("b",)]
        assert await raw.fetch("SELECT stores FROM manifests") == [(8,)]

    async def test_chunks_lead_to_versions_and_versions_to_chunks(self, database: Database) -> None:
        async with database.bookkeep() as records:
            await records.manifests.insert(digest_of("m"), files("a", "b", "c"), time_us=0)
            await records.manifests.insert(digest_of("n"), files("c"), time_us=0)
        async with database.write() as records:
            await records.models.insert(model())
            for number, manifest in enumerate("mmn", start=1):
                contents = Contents(digest_of(manifest), "", 1, 1)
                await records.versions.insert(version(number, contents=contents, deleted_at_us=3))
            await records.events.add([event(records.revision)])
        async with database.read() as records:
            manifests = records.manifests
            listed = await manifests.chunks(digest_of("m"), after=b"", limit=9)
            assert listed == sorted(map(chunk, "abc"), key=lambda one: one.digest)
            after = listed[0].digest
            assert await manifests.chunks(digest_of("m"), after=after, limit=1) == listed[1:2]
            assert await manifests.chunk_total(digest_of("m")) == (
                3,
                sum(one.size_bytes for one in listed),
            )
            assert await manifests.versions_listing(digest_of("c"), limit=9) == [
                ("team/cow", 1),
                ("team/cow", 2),
                ("team/cow", 3),
            ]
            assert await manifests.versions_listing(digest_of("a"), limit=1) == [("team/cow", 1)]
            assert await manifests.versions_listing(digest_of("x"), limit=9) == []

    async def test_unused_manifests_go_with_what_they_list(
        self, database: Database, raw: RawDatabase
    ) -> None:
        async with database.bookkeep() as records:
            for name in ("used", "old", "fresh", "renewed"):
                time_us = DAY_US if name == "fresh" else 0
                await records.manifests.insert(digest_of(name), files(name), time_us=time_us)
            await records.manifests.insert(digest_of("renewed"), files("renewed"), time_us=DAY_US)
        async with database.write() as records:
            await records.models.insert(model())
            used = version(1, contents=Contents(digest_of("used"), "", 1, 1), deleted_at_us=3)
            await records.versions.insert(used)
            await records.events.add([event(records.revision)])
        async with database.bookkeep() as records:
            assert await records.manifests.delete_unused(DAY_US, limit=10) == 1
            assert await records.manifests.delete_unused(DAY_US, limit=10) == 0
        rows = await raw.fetch("SELECT path FROM manifest_files ORDER BY path")
        assert rows == [("fresh",), ("renewed",), ("used",)]
        assert await raw.fetch("SELECT count(*) FROM manifest_chunks") == [(3,)]
