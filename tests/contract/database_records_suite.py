"""What every `Database` keeps of the record's rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from herdbook_server.errors import ChunksMissing, LabelExists, ModelExists, RequestIdReused
from herdbook_server.ports.references import ByAlias, ByLabel, ByNumber, Newest, NewestInStage
from herdbook_server.ports.values import (
    Contents,
    EventKind,
    ReplicaState,
    RequestRecord,
    Resolution,
    Stage,
)
from tests.contract.database_rows import (
    add_model,
    alias,
    digest_of,
    event,
    model,
    move,
    report,
    version,
)

if TYPE_CHECKING:
    from herdbook_server.ports.database import Database
    from tests.contract.database_suite import RawDatabase


DEADLINE_SECONDS = 30


class RecordTests:
    """Rows of the record."""

    async def test_a_model_comes_back_as_it_was_stored(self, database: Database) -> None:
        cow = model(description="Müh 🐄", tags={"b": "ö" * 4000, "a": ""}, revision=1)
        async with database.write() as records:
            await records.models.insert(cow)
            await records.events.add([event(records.revision)])
        async with database.read() as records:
            assert await records.models.get("team/cow") == cow

    async def test_a_model_that_exists_is_not_inserted_again(self, database: Database) -> None:
        await add_model(database)
        with pytest.raises(ModelExists):
            await add_model(database)
        assert await database.revision() == 1

    async def test_saving_a_model_replaces_its_tags(
        self, database: Database, raw: RawDatabase
    ) -> None:
        async with database.write() as records:
            await records.models.insert(model(tags={"a": "1", "b": "2"}))
            changed = model(tags={"b": "3"}, description="d", deleted_at_us=9, revision=1)
            await records.models.save(changed)
            await records.events.add([event(records.revision)])
        assert await raw.fetch("SELECT key, head FROM model_tags") == [("b", "3")]
        async with database.read() as records:
            assert await records.models.get("team/cow") == changed

    async def test_recounting_looks_for_the_newest_version_that_is_not_deleted(
        self, database: Database
    ) -> None:
        await add_model(database, versions=3)
        async with database.write() as records:
            await records.versions.save(version(3, deleted_at_us=5))
            await records.models.recount("team/cow", change=-1)
            await records.events.add([event(records.revision)])
            stored = await records.models.get("team/cow")
            assert await records.models.next_number("team/cow") == 4
        assert stored is not None
        assert (stored.latest_version, stored.version_count) == (2, 2)

    async def test_a_version_comes_back_as_it_was_stored(self, database: Database) -> None:
        whole = version(
            1,
            label="1.0.0",
            description="d\n",
            tags={"team": "x" * 4096},
            author="ada",
            params={"lr": "0.1"},
            metrics={"rmse": 0.1, "worst": float("inf"), "best": float("-inf"), "n": 1.0},
            signature={"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 2]}]},
            input_example=None,
            has_input_example=True,
            framework="scikit-learn",
            format="joblib",
            lineage={"run_id": "r", "code": {"commit": "c", "dirty": True}, "parents": []},
            environment={"python": "3.11", "packages": {"numpy": "2"}, "hardware": "\x00"},
        )
        async with database.write() as records:
            await records.models.insert(model())
            await records.versions.insert(whole)
            await records.events.add([event(records.revision)])
        async with database.read() as records:
            assert await records.versions.get("team/cow", 1) == whole
            assert await records.versions.get_by_label("team/cow", "1.0.0") == whole
            assert await records.versions.get("team/cow", 2) is None

    async def test_a_label_is_taken_once_in_a_model(self, database: Database) -> None:
        await add_model(database, versions=1)
        await add_model(database, "team/calf", versions=1)
        async with database.write() as records:
            await records.versions.save(version(1, label="1.0.0"))
            await records.versions.save(version(1, "team/calf", label="1.0.0"))
            await records.events.add([event(records.revision)])
        with pytest.raises(LabelExists):
            async with database.write() as records:
                await records.versions.insert(version(2, label="1.0.0"))

    async def test_saving_a_version_changes_what_may_change(
        self, database: Database, raw: RawDatabase
    ) -> None:
        await add_model(database, versions=1)
        changed = version(
            1,
            label="2.0.0",
            description="new",
            tags={"a": "b"},
            stage=Stage.PRODUCTION,
            updated_at_us=8,
            deleted_at_us=9,
            revision=2,
        )
        async with database.write() as records:
            await records.versions.save(changed)
            await records.events.add([event(records.revision)])
        async with database.read() as records:
            assert await records.versions.get("team/cow", 1) == changed
        assert await raw.fetch("SELECT key, head, rest FROM version_tags") == [("a", "b", "")]

    async def test_a_version_of_a_manifest_that_is_gone_is_refused(
        self, database: Database
    ) -> None:
        await add_model(database)
        with pytest.raises(ChunksMissing) as refusal:  # noqa: PT012 - the block is what raises
            async with database.write() as records:
                lost = version(1, contents=Contents(digest_of("gone"), "", 1, 1))
                await records.versions.insert(lost)
        (condition,) = refusal.value.conditions
        assert (condition.type, condition.subject) == ("manifest", digest_of("gone").hex())

    async def test_every_way_to_name_a_version_resolves(self, database: Database) -> None:
        await add_model(database, versions=3)
        async with database.write() as records:
            await records.versions.save(version(1, label="1.0.0", stage=Stage.STAGING))
            await records.versions.save(version(2, stage=Stage.STAGING))
            await records.aliases.put(alias("champion", 1))
            await records.events.add([event(records.revision)])
        named = {
            ByAlias("team/cow", "champion"): 1,
            ByNumber("team/cow", 2): 2,
            ByLabel("team/cow", "1.0.0"): 1,
            Newest("team/cow"): 3,
            NewestInStage("team/cow", Stage.STAGING): 2,
            ByAlias("team/cow", "Champion"): None,
            ByNumber("team/cow", 4): None,
            ByLabel("team/cow", "1.0"): None,
            Newest("team/bull"): None,
            NewestInStage("team/cow", Stage.PRODUCTION): None,
        }
        expected = [
            number and Resolution("team/cow", number, None, "s3://herd/cow", 7)
            for number in named.values()
        ]
        async with database.read() as records:
            assert [await records.versions.resolve(one) for one in named] == expected
            assert list(await records.versions.resolve_many(list(named) * 60)) == expected * 60

    async def test_deleted_versions_and_models_resolve_to_nothing(self, database: Database) -> None:
        await add_model(database, versions=2)
        references = [
            ByAlias("team/cow", "champion"),
            ByNumber("team/cow", 2),
            NewestInStage("team/cow", Stage.PRODUCTION),
        ]
        async with database.write() as records:
            await records.aliases.put(alias("champion", 2))
            await records.versions.save(version(2, stage=Stage.PRODUCTION, deleted_at_us=1))
            await records.events.add([event(records.revision)])
            assert set(await records.versions.resolve_many(references)) == {None}
            await records.models.save(model(deleted_at_us=1))
            assert await records.versions.resolve(ByNumber("team/cow", 1)) is None

    async def test_others_in_a_stage_are_archived_but_for_deleted_ones(
        self, database: Database
    ) -> None:
        await add_model(database, versions=4)
        async with database.write() as records:
            for number in (1, 2, 3, 4):
                await records.versions.save(
                    version(
                        number, stage=Stage.STAGING, deleted_at_us=number if number == 3 else None
                    )
                )
            archived = await records.versions.archive_others(
                version(2), Stage.STAGING, time_us=77, revision=88
            )
            assert archived == [1, 4]
            found = [await records.versions.get("team/cow", number) for number in (1, 2, 3, 4)]
        assert [one and one.stage for one in found] == [
            Stage.ARCHIVED,
            Stage.STAGING,
            Stage.STAGING,
            Stage.ARCHIVED,
        ]
        assert [one and (one.updated_at_us, one.revision) for one in found][::3] == [(77, 88)] * 2

    async def test_aliases_are_put_replaced_listed_and_deleted(self, database: Database) -> None:
        await add_model(database, versions=2)
        names = ["b", "a", "_z", "B"]
        async with database.write() as records:
            for name in names:
                await records.aliases.put(alias(name, 1))
            await records.aliases.put(alias("a", 2, revision=7))
            await records.aliases.delete("team/cow", "b")
            assert await records.aliases.get("team/cow", "a") == alias("a", 2, revision=7)
            assert await records.aliases.get("team/cow", "b") is None
            listed = await records.aliases.of_model("team/cow", limit=10)
            assert [one.alias for one in listed] == ["B", "_z", "a"]
            later = await records.aliases.of_model("team/cow", after="B", limit=1)
            assert [one.alias for one in later] == ["_z"]
            of_version = await records.aliases.of_version("team/cow", 1)
            assert [one.alias for one in of_version] == ["B", "_z"]

    async def test_aliases_under_a_prefix_are_those_of_models_that_are_not_deleted(
        self, database: Database
    ) -> None:
        for name in ("fraud/a", "fraud/b", "fraud", "frauds/c", "fraud/d"):
            await add_model(database, name, versions=1)
        async with database.write() as records:
            for name in ("fraud/a", "fraud/b", "fraud", "frauds/c", "fraud/d"):
                await records.aliases.put(alias("champion", 1, name))
            await records.models.save(model("fraud/d", deleted_at_us=1))
            found = await records.aliases.under_prefix("fraud/", limit=10)
            first = await records.aliases.under_prefix("fraud/", limit=1)
            everything = await records.aliases.under_prefix("", limit=10)
        assert [one.model for one in found] == ["fraud/a", "fraud/b"]
        assert first == found[:1]
        assert len(everything) == 4

    async def test_moves_come_newest_first_and_go_on_behind_a_move(
        self, database: Database
    ) -> None:
        async with database.write() as records:
            moves = [move(1), move(1, "blue"), move(2, undo_revision=1, rollback=True), move(3)]
            for one in moves:
                await records.aliases.add_move(one)
            assert await records.aliases.get_move("team/cow", "champion", 2) == moves[2]
            of_alias = await records.aliases.moves("team/cow", "champion", limit=2)
            assert [one.revision for one in of_alias] == [3, 2]
            rest = await records.aliases.moves(
                "team/cow", "champion", before=(2, "champion"), limit=5
            )
            assert rest == [moves[0]]
            everything = await records.aliases.moves("team/cow", None, limit=3)
            assert everything == [moves[3], moves[2], moves[1]]
            rest = await records.aliases.moves("team/cow", None, before=(1, "blue"), limit=3)
            assert rest == [moves[0]]

    async def test_events_after_a_revision_come_in_whole_revisions(
        self, database: Database
    ) -> None:
        for count in (1, 3, 2):
            async with database.write() as records:
                revision = records.revision
                await records.events.add([event(revision, position) for position in range(count)])
        async with database.read() as records:
            found = await records.events.after(0, limit=2)
            assert [(one.revision, one.position) for one in found] == [
                (1, 0),
                (2, 0),
                (2, 1),
                (2, 2),
            ]
            assert [one.revision for one in await records.events.after(2, limit=9)] == [3, 3]

    async def test_an_event_comes_back_as_it_was_stored(self, database: Database) -> None:
        moved = event(
            1,
            kind=EventKind.ALIAS_SET,
            version=2,
            alias="a",
            from_value="1",
            to_value="2",
            reason="ö",
        )
        async with database.write() as records:
            await records.events.add([moved])
        async with database.read() as records:
            assert list(await records.events.after(0, limit=5)) == [moved]

    async def test_first_answers_are_kept_once_and_forgotten(self, database: Database) -> None:
        record = RequestRecord("id", digest_of("asked"), {"version": 3}, 100)
        async with database.write() as records:
            await records.requests.add(record)
            await records.events.add([event(records.revision)])
        with pytest.raises(RequestIdReused):
            async with database.write() as records:
                await records.requests.add(record)
        async with database.bookkeep() as records:
            assert await records.requests.get("id") == record
            assert await records.requests.forget_before(100) == 0
            assert await records.requests.forget_before(101) == 1
            assert await records.requests.get("id") is None

    async def test_replicas_live_until_their_lease_ends(self, database: Database) -> None:
        async with database.bookkeep() as records:
            await records.replicas.put([report("r1")], expires_at_us=10)
            await records.replicas.put([report("r2")], expires_at_us=20)
            await records.replicas.put(
                [report("r2", "team/cow@b", serving_version=0)], expires_at_us=20
            )
            keys = [("r2", "team/cow@champion"), ("r1", "team/cow@champion"), ("r9", "x")]
            assert await records.replicas.renew(keys, expires_at_us=15) == [("r9", "x")]
            live = await records.replicas.live(now_us=14, limit=9)
            assert [(one.replica_id, one.reference) for one in live] == [
                ("r1", "team/cow@champion"),
                ("r2", "team/cow@b"),
                ("r2", "team/cow@champion"),
            ]
            assert len(await records.replicas.live(now_us=15, limit=9)) == 2
            after = ("r1", "team/cow@champion")
            assert [
                one.reference for one in await records.replicas.live(now_us=1, after=after, limit=1)
            ] == ["team/cow@b"]
            of_reference = await records.replicas.live(now_us=1, reference="team/cow@b", limit=9)
            assert [one.replica_id for one in of_reference] == ["r2"]
            assert len(await records.replicas.serving("team/cow", 1, now_us=14)) == 2
            assert len(await records.replicas.serving("team/cow", None, now_us=15)) == 1
            assert await records.replicas.serving("team/cow", 2, now_us=1) == []
            assert await records.replicas.count_by_state(now_us=14) == {"serving": 3}
            assert await records.replicas.count_by_state(now_us=20) == {}
            assert await records.replicas.forget_before(16) == 1
            assert len(await records.replicas.live(now_us=0, limit=9)) == 2

    async def test_a_report_replaces_the_one_before(self, database: Database) -> None:
        async with database.bookkeep() as records:
            await records.replicas.put([report("r1")], expires_at_us=10)
            failed = report("r1", failure="out of memory", version=2, reported_at_us=5)
            await records.replicas.put([failed], expires_at_us=20)
            assert await records.replicas.live(now_us=15, limit=5) == [failed]

    async def test_convergence_counts_the_living_and_lists_some_failures(
        self, database: Database
    ) -> None:
        async with database.bookkeep() as records:
            for number in range(101):
                failed = report(f"f{number:03}", version=2, state=ReplicaState.FAILED)
                await records.replicas.put([failed], expires_at_us=20)
            serving = report("there", version=2, serving_version=2)
            failed_before = report("back", version=2, serving_version=2, state=ReplicaState.FAILED)
            await records.replicas.put([serving], expires_at_us=20)
            await records.replicas.put([failed_before], expires_at_us=20)
            await records.replicas.put([report("gone")], expires_at_us=10)
            await records.replicas.put([report("other", "team/cow@b")], expires_at_us=20)
            seen = await records.replicas.convergence("team/cow@champion", 2, now_us=15)
            untargeted = await records.replicas.convergence("team/cow@champion", 0, now_us=15)
        assert (seen.replica_count, seen.converged_count, seen.failed_count) == (103, 2, 101)
        assert [one.replica_id for one in seen.failures] == [f"f{n:03}" for n in range(100)]
        assert seen.serving_counts == {1: 101, 2: 2}
        assert (untargeted.converged_count, untargeted.failed_count) == (0, 0)

    async def test_a_newcomer_does_not_replace_what_the_replica_has_said(
        self, database: Database
    ) -> None:
        said, newcomer = report("r1"), report("r1", version=0, serving_version=0)
        async with database.bookkeep() as records:
            await records.replicas.put([said], expires_at_us=20)
            await records.replicas.add([newcomer], expires_at_us=20)
            assert await records.replicas.live(now_us=15, limit=5) == [said]
            await records.replicas.add([replace(newcomer, replica_id="r2")], expires_at_us=20)
            assert len(await records.replicas.live(now_us=15, limit=5)) == 2

    async def test_leases_are_extended_by_the_prefix_of_models(self, database: Database) -> None:
        async with database.bookkeep() as records:
            for replica_id, model in (("r1", "team/cow"), ("r1", "teams/cow"), ("r2", "team/cow")):
                said = report(replica_id, f"{model}@champion", model=model)
                await records.replicas.put([said], expires_at_us=10)
            leases = [("r1", "team/"), ("r1", "tea%")]
            renewed = await records.replicas.renew_below(leases, expires_at_us=20)
            assert renewed == {"team/cow@champion"}
            live = await records.replicas.live(now_us=15, limit=9)
            assert [(one.replica_id, one.model) for one in live] == [("r1", "team/cow")]
            await records.replicas.renew_below([("r1", ""), ("r2", "team/")], expires_at_us=5)
            assert await records.replicas.live(now_us=15, limit=9) == live
            await records.replicas.renew_below([("r1", "")], expires_at_us=30)
            assert len(await records.replicas.live(now_us=25, limit=9)) == 2

    async def test_what_is_written_of_replicas_side_by_side_never_meets_half_way(
        self, database: Database, neighbour: Database
    ) -> None:
        ids = [f"r{number}" for number in range(200)]

        async def write(into: Database, order: Sequence[str], expires_at_us: int) -> None:
            said = [report(replica_id) for replica_id in order]
            keys = [(one.replica_id, one.reference) for one in said]
            below = [(replica_id, "team/") for replica_id in order]
            for _ in range(4):
                async with into.bookkeep(durable=False) as records:
                    await records.replicas.put(said, expires_at_us=expires_at_us)
                async with into.bookkeep(durable=False) as records:
                    await records.replicas.renew(keys, expires_at_us=expires_at_us + 1)
                async with into.bookkeep(durable=False) as records:
                    await records.replicas.renew_below(below, expires_at_us=expires_at_us + 2)
                async with into.bookkeep(durable=False) as records:
                    await records.replicas.forget_before(expires_at_us)
                async with into.bookkeep(durable=False) as records:
                    await records.replicas.add(said, expires_at_us=expires_at_us)
                async with into.bookkeep(durable=False) as records:
                    await records.replicas.forget(keys)

        orders = [ids, ids[::-1], ids[100:] + ids[:100], ids[::7] + ids]
        writers = (database, neighbour, database, neighbour)
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
            for number, (into, order) in enumerate(zip(writers, orders, strict=True), 1):
                group.create_task(write(into, order, 10 * number))
