"""What every `Database` finds when it is searched."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from herdbook_server.errors import PageTokenInvalid
from herdbook_server.ports.queries import (
    All,
    AnyOf,
    Comparison,
    Field,
    Not,
    Presence,
    Query,
    SortKey,
)
from herdbook_server.ports.values import EventKind, Stage
from herdbook_server.storage.sql.fields import EVENTS, MODELS, VERSIONS, Source
from herdbook_server.storage.sql.search import Search
from tests.contract.database_rows import alias, digest_of, event, files, model, version
from tests.contract.search_oracle import (
    in_order,
    matches,
    some_condition,
    some_order,
    some_versions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from herdbook_server.ports.database import Database
    from herdbook_server.ports.queries import Found
    from herdbook_server.ports.values import Version

RMSE = Field("metrics", "rmse")
TEAM = Field("tags", "team")
STAGE = Field("stage")

USUAL = {
    "all": None,
    "a metric": Comparison(RMSE, "<", 7.0),
    "a tag": Comparison(TEAM, "=", "fraud"),
    "a stage": Comparison(STAGE, "=", "staging"),
    "a metric, a tag and a stage": All(
        (
            Comparison(RMSE, "<", 7.0),
            Comparison(TEAM, "=", "fraud"),
            Comparison(STAGE, "=", "staging"),
        )
    ),
    "one of two stages": AnyOf(
        (Comparison(STAGE, "=", "staging"), Comparison(STAGE, "=", "production"))
    ),
    "a parameter's beginning": Comparison(Field("params", "lr"), "prefix", "0.1"),
    "a run": Comparison(Field("lineage.run_id"), "=", "run7"),
    "an alias": Comparison(Field("aliases"), "has", "champion"),
    "a metric that is there": Presence(RMSE),
}
USUAL_ORDERS = {
    "the default order": (),
    "a metric, newest first": (SortKey(RMSE), SortKey(Field("number"), descending=True)),
    "newest first": (SortKey(Field("created_at"), descending=True),),
}


async def add_versions(database: Database, versions: Sequence[Version]) -> None:
    """Add versions, and the models that they are of."""
    async with database.write() as records:
        for name in sorted({one.model for one in versions}):
            await records.models.insert(model(name))
        for one in versions:
            await records.versions.insert(one)
        await records.events.add([event(records.revision)])


async def pages_of(search: Any, query: Query) -> tuple[list[Any], int]:
    """Return what all pages of a search hold, and how many there were."""
    items: list[Any] = []
    count = 0
    while True:
        found: Found[Any] = await search(query)
        assert len(found.items) <= query.limit
        items += found.items
        count += 1
        if found.next is None:
            return items, count
        query = Query(
            query.where, query.order, query.limit, found.next, query.model, query.show_deleted
        )


def numbers(found: Found[Any]) -> list[int]:
    """Return the numbers of the versions found."""
    return [one.number for one in found.items]


class SearchTests:
    """Subclasses provide `database`, `raw`, and `explain`, which tells how a statement is run."""

    @pytest.mark.parametrize("seed", range(6))
    async def test_a_search_finds_what_its_words_say_in_pages_of_any_size(
        self, database: Database, seed: int
    ) -> None:
        rng = random.Random(seed)
        async with database.bookkeep() as records:
            await records.manifests.insert(digest_of("m"), files("x"), time_us=0)
        everything = some_versions(rng, digest_of("m"))
        await add_versions(database, everything)
        async with database.read() as records:
            for _ in range(40):
                where = some_condition(rng, 3) if rng.random() < 0.9 else None
                model_name = rng.choice([None, None, "n"])
                deleted = rng.random() < 0.2
                query = Query(
                    where, some_order(rng), rng.choice([3, 20, 200]), None, model_name, deleted
                )
                found, _ = await pages_of(records.versions.search, query)
                expected = [
                    one
                    for one in everything
                    if (where is None or matches(one, where))
                    and model_name in {None, one.model}
                    and (deleted or one.deleted_at_us is None)
                ]
                names = [(one.model, one.number) for one in found]
                assert names == in_order(expected, query.order), query

    async def test_what_is_found_is_whole_but_for_packages(self, database: Database) -> None:
        environment = {"python": "3.11", "packages": {"numpy": "2"}}
        whole = version(1, tags={"a": "b"}, metrics={"x": 0.1}, environment=environment)
        await add_versions(database, [whole])
        async with database.write() as records:
            await records.aliases.put(alias("b", 1))
            await records.aliases.put(alias("a", 1))
            await records.events.add([event(records.revision)])
        async with database.read() as records:
            (found,) = (await records.versions.search(Query(None, (), 5))).items
        assert found.aliases == ("a", "b")
        assert found.about.environment == {"python": "3.11", "packages": {}}
        assert found.about.tags == {"a": "b"}

    async def test_versions_of_deleted_models_are_found_only_on_request(
        self, database: Database
    ) -> None:
        await add_versions(database, [version(1, "a"), version(2, "b")])
        async with database.write() as records:
            await records.models.save(model("a", deleted_at_us=3))
            await records.events.add([event(records.revision)])
        async with database.read() as records:
            assert numbers(await records.versions.search(Query(None, (), 5))) == [2]
            both = await records.versions.search(Query(None, (), 5, show_deleted=True))
            assert numbers(both) == [1, 2]

    async def test_pages_stay_right_while_versions_are_added(self, database: Database) -> None:
        await add_versions(database, [version(n, metrics={"rmse": n}) for n in range(1, 7)])
        query = Query(None, (SortKey(RMSE),), 3)
        async with database.read() as records:
            first = await records.versions.search(query)
        async with database.write() as records:
            await records.versions.insert(version(7, metrics={"rmse": 0.5}))
            await records.versions.insert(version(8, metrics={"rmse": 4.5}))
            await records.events.add([event(records.revision)])
        async with database.read() as records:
            second = await records.versions.search(Query(None, query.order, 3, first.next))
        assert numbers(first) == [1, 2, 3]
        assert numbers(second) == [4, 8, 5]

    async def test_aliases_are_members(self, database: Database) -> None:
        await add_versions(database, [version(n) for n in range(1, 5)])
        async with database.write() as records:
            for name, number in (("a", 1), ("b", 1), ("a2", 3)):
                await records.aliases.put(alias(name, number))
            await records.events.add([event(records.revision)])
        has_a, has_b = (Comparison(Field("aliases"), "has", name) for name in "ab")
        async with database.read() as records:
            search = records.versions.search
            assert numbers(await search(Query(has_a, (), 5))) == [1]
            assert numbers(await search(Query(All((has_a, has_b)), (), 5))) == [1]
            assert numbers(await search(Query(Not(has_a), (), 5))) == [4, 3, 2]
            assert numbers(await search(Query(Presence(Field("aliases")), (), 5))) == [3, 1]

    async def test_a_page_of_large_versions_ends_early_and_goes_on(
        self, database: Database
    ) -> None:
        large = {f"p{n}": "x" * 8000 for n in range(300)}
        await add_versions(database, [version(n, params=large) for n in range(1, 8)])
        async with database.read() as records:
            found, count = await pages_of(records.versions.search, Query(None, (), 100))
        assert [one.number for one in found] == [7, 6, 5, 4, 3, 2, 1]
        assert count > 1

    async def test_deep_conditions_are_answered(self, database: Database) -> None:
        await add_versions(database, [version(n, metrics={"rmse": n}) for n in range(1, 4)])
        condition: Any = Comparison(RMSE, "=", 2.0)
        for depth in range(50):
            other = Comparison(Field("number"), "=", -depth)
            inner = (other, Not(condition) if depth % 3 == 0 else condition)
            condition = Not(AnyOf(inner)) if depth % 2 else AnyOf((*inner, other))
        wide = All((condition, Not(All(tuple(Comparison(TEAM, "=", str(n)) for n in range(400))))))
        async with database.read() as records:
            found = numbers(await records.versions.search(Query(wide, (), 9)))
        expected = [n for n in (3, 2, 1) if matches(version(n, metrics={"rmse": n}), wide)]
        assert found == expected

    async def test_a_position_of_another_order_is_refused(self, database: Database) -> None:
        async with database.read() as records:
            with pytest.raises(PageTokenInvalid):
                await records.versions.search(Query(None, (), 5, (1, 2, 3, 4)))

    async def test_models_are_found_and_sorted(self, database: Database) -> None:
        async with database.write() as records:
            for number, name in enumerate(["b", "a/x", "a", "c"]):
                tags = {"team": "fraud"} if number % 2 else {}
                deleted = 1 if name == "c" else None
                row = model(name, tags=tags, created_at_us=number, deleted_at_us=deleted)
                await records.models.insert(row)
            await records.events.add([event(records.revision)])
        newest = (SortKey(Field("created_at"), descending=True),)

        async def names(query: Query) -> list[str]:
            async with database.read() as records:
                found, _ = await pages_of(records.models.search, query)
            return [one.name for one in found]

        assert await names(Query(None, (), 2)) == ["a", "a/x", "b"]
        assert await names(Query(None, newest, 1)) == ["a", "a/x", "b"]
        assert await names(Query(None, newest, 9, show_deleted=True)) == ["c", "a", "a/x", "b"]
        assert await names(Query(Comparison(TEAM, "=", "fraud"), (), 9)) == ["a/x"]
        assert await names(Query(Not(Presence(TEAM)), newest, 9)) == ["a", "b"]
        assert await names(Query(Comparison(Field("name"), "prefix", "a"), (), 9)) == ["a", "a/x"]
        assert await names(Query(Comparison(Field("version_count"), "=", 0), (), 1)) == [
            "a",
            "a/x",
            "b",
        ]

    async def test_events_are_found_in_order_of_revisions_either_way(
        self, database: Database
    ) -> None:
        for number in range(1, 7):
            async with database.write() as records:
                kind = EventKind.ALIAS_SET if number % 2 else EventKind.STAGE_SET
                actor = "ada" if number < 5 else "bob"
                await records.events.add(
                    [
                        event(number, place, kind=kind, actor=actor, model=f"m{place}")
                        for place in (0, 1)
                    ]
                )

        async def keys(query: Query) -> list[tuple[int, int]]:
            async with database.read() as records:
                found, _ = await pages_of(records.events.search, query)
            return [(one.revision, one.position) for one in found]

        forward = [(revision, place) for revision in range(1, 7) for place in (0, 1)]
        back = (SortKey(Field("revision"), descending=True),)
        assert await keys(Query(None, (), 5)) == forward
        assert await keys(Query(None, back, 5)) == forward[::-1]
        assert await keys(Query(None, (), 2, model="m1")) == forward[1::2]
        assert await keys(Query(Comparison(Field("revision"), ">", 4), (), 2)) == forward[8:]
        alias_by_ada = All(
            (
                Comparison(Field("kind"), "=", "alias_set"),
                Comparison(Field("actor"), "=", "ada"),
                Comparison(Field("time"), "<=", 4),
            )
        )
        assert await keys(Query(alias_by_ada, back, 3)) == [(3, 1), (3, 0), (1, 1), (1, 0)]

    @pytest.mark.parametrize("order", USUAL_ORDERS)
    @pytest.mark.parametrize("where", USUAL)
    async def test_usual_searches_scan_no_table(
        self, grown_database: Database, explain: Any, where: str, order: str
    ) -> None:
        for model_name in (None, "team/cow2"):
            query = Query(USUAL[where], USUAL_ORDERS[order], 20, model=model_name)
            for statement in await statements_of(grown_database, VERSIONS, query):
                assert await explain(*statement) == []

    async def test_searches_of_models_and_events_scan_no_table(
        self, grown_database: Database, explain: Any
    ) -> None:
        ada = Comparison(Field("actor"), "=", "ada")
        newest = (SortKey(Field("revision"), descending=True),)
        queries = [
            (EVENTS, Query(None, newest, 20)),
            (EVENTS, Query(None, newest, 20, model="team/cow")),
            (EVENTS, Query(ada, (), 20)),
            (MODELS, Query(None, (), 20)),
            (MODELS, Query(Comparison(TEAM, "=", "fraud"), (), 20)),
        ]
        for source, query in queries:
            for statement in await statements_of(grown_database, source, query):
                assert await explain(*statement) == []


class Recorder:
    """A connection that remembers what was asked of it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.statements: list[tuple[str, tuple[Any, ...]]] = []

    async def fetch(self, sql: str, *values: Any) -> Any:
        """Remember, and ask."""
        self.statements.append((sql, values))
        return await self._connection.fetch(sql, *values)

    async def fetch_one(self, sql: str, *values: Any) -> Any:
        """Remember, and ask."""
        self.statements.append((sql, values))
        return await self._connection.fetch_one(sql, *values)

    def searching(self) -> Any:
        """Ask."""
        return self._connection.searching()


async def statements_of(
    database: Database, source: Source, query: Query
) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the statements that the first two pages of a search run."""
    async with database.read() as records:
        recorder = Recorder(records.events._connection)  # type: ignore[attr-defined]
        _, following = await Search(recorder, source, query).run()  # type: ignore[arg-type]
        if following is not None:
            later = Query(query.where, query.order, query.limit, following, query.model)
            await Search(recorder, source, later).run()  # type: ignore[arg-type]
    return recorder.statements


async def grow(database: Database, versions_per_model: int = 1000) -> None:
    """Add a few thousand versions of a few models, with events."""
    rng = random.Random(1)
    for index in range(3):
        name = f"team/cow{index}"
        async with database.write() as records:
            await records.models.insert(model(name, tags={"team": "fraud"} if index else {}))
            for number in range(1, versions_per_model + 1):
                one = version(
                    number,
                    name,
                    stage=rng.choices(list(Stage), [8, 1, 1, 2])[0],
                    tags={"team": "fraud" if rng.random() < 0.1 else "credit"},
                    metrics={"rmse": rng.uniform(0, 100)},
                    params={"lr": str(rng.random())},
                    lineage={"run_id": f"run{number}"},
                    description="d" * 500,
                )
                await records.versions.insert(one)
            await records.models.recount(name, change=versions_per_model)
            await records.aliases.put(alias("champion", 5, name))
            revision = records.revision
            await records.events.add([event(revision, place) for place in range(700)])
