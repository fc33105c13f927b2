"""Aliases move by compare-and-set, and every move stays in the history."""

from __future__ import annotations

import uuid

import pytest

from herdbook_server.errors import (
    AliasInvalid,
    AliasMoved,
    AliasNotFound,
    FieldInvalid,
    ModelNotFound,
    NoPreviousVersion,
    RequestIdReused,
    VersionDeleted,
    VersionNotFound,
)
from herdbook_server.ports.values import EventKind
from herdbook_server.registry.callers import Caller
from tests.unit.registry.conftest import ADA, MODEL, Registry

BOB = Caller("bob")


@pytest.fixture
async def three(registry: Registry) -> Registry:
    """A model with three versions, made by revisions 1 to 3."""
    for _ in range(3):
        await registry.register()
    return registry


async def points_at(registry: Registry, alias: str = "champion") -> int:
    resolution = await registry.versions.resolve(f"{MODEL}@{alias}")
    return resolution.version


async def test_an_alias_is_created_moved_and_resolved(three: Registry) -> None:
    created = await three.aliases.set(ADA, MODEL, "champion", 1, reason="first")
    assert (created.alias.version, created.previous_version) == (1, 0)
    three.clock.time_us += 1
    moved = await three.aliases.set(BOB, MODEL, "champion", 2, reason="better")
    assert (moved.alias.version, moved.previous_version) == (2, 1)
    assert (moved.alias.moved_by, moved.alias.moved_at_us) == ("bob", 1_000_001)
    assert moved.alias == await three.aliases.get(MODEL, "champion")
    assert await points_at(three) == 2
    first, second = await three.happened(3)
    assert (first.kind, first.version, first.alias) == (EventKind.ALIAS_SET, 1, "champion")
    assert (first.from_value, first.to_value, first.reason) == ("", "1", "first")
    assert (second.from_value, second.to_value, second.actor) == ("1", "2", "bob")


async def test_a_losing_alias_move_changes_nothing(three: Registry) -> None:
    await three.aliases.set(ADA, MODEL, "champion", 1, expected_version=0)
    for expected in (0, 2, 3):
        with pytest.raises(AliasMoved) as refusal:
            await three.aliases.set(ADA, MODEL, "champion", 2, expected_version=expected)
        assert refusal.value.metadata == {"current_version": "1"}
    with pytest.raises(AliasMoved) as refusal:
        await three.aliases.set(ADA, MODEL, "new", 2, expected_version=1)
    assert refusal.value.metadata == {"current_version": "0"}
    assert await points_at(three) == 1
    assert await three.database.revision() == 4
    await three.aliases.set(ADA, MODEL, "champion", 2, expected_version=1)


async def test_setting_an_alias_to_where_it_points_notes_nothing(three: Registry) -> None:
    first = await three.aliases.set(ADA, MODEL, "champion", 1)
    three.clock.time_us += 1
    again = await three.aliases.set(BOB, MODEL, "champion", 1)
    assert again.alias == first.alias
    assert again.previous_version == 1
    assert await three.database.revision() == 4
    with pytest.raises(AliasMoved):
        await three.aliases.set(ADA, MODEL, "champion", 1, expected_version=2)


async def test_rollbacks_walk_further_back_each_time(three: Registry) -> None:
    for version in (1, 2, 3):
        await three.aliases.set(ADA, MODEL, "champion", version)
    walked = [await three.aliases.rollback(ADA, MODEL, "champion") for _ in range(2)]
    assert [change.alias.version for change in walked] == [2, 1]
    assert [change.previous_version for change in walked] == [3, 2]
    with pytest.raises(NoPreviousVersion):
        await three.aliases.rollback(ADA, MODEL, "champion")
    await three.aliases.set(ADA, MODEL, "champion", 3)
    assert (await three.aliases.rollback(ADA, MODEL, "champion")).alias.version == 1
    moves = (await three.aliases.moves(MODEL, "champion")).items
    assert [(move.from_version, move.to_version, move.rollback) for move in moves] == [
        (3, 1, True),
        (1, 3, False),
        (2, 1, True),
        (3, 2, True),
        (2, 3, False),
        (1, 2, False),
        (0, 1, False),
    ]


async def test_a_rollback_does_not_restore_a_deleted_version(three: Registry) -> None:
    await three.aliases.set(ADA, MODEL, "champion", 1)
    await three.aliases.set(ADA, MODEL, "champion", 2)
    await three.versions.delete(ADA, f"{MODEL}:1")
    with pytest.raises(VersionDeleted) as refusal:
        await three.aliases.rollback(ADA, MODEL, "champion")
    assert refusal.value.conditions[0].subject == f"{MODEL}:1"
    await three.versions.restore(ADA, f"{MODEL}:1")
    assert (await three.aliases.rollback(ADA, MODEL, "champion")).alias.version == 1


async def test_a_rollback_expects_what_it_is_told(three: Registry) -> None:
    await three.aliases.set(ADA, MODEL, "champion", 1)
    await three.aliases.set(ADA, MODEL, "champion", 2)
    with pytest.raises(AliasMoved):
        await three.aliases.rollback(ADA, MODEL, "champion", expected_version=1)
    await three.aliases.rollback(ADA, MODEL, "champion", expected_version=2)
    with pytest.raises(AliasNotFound):
        await three.aliases.rollback(ADA, MODEL, "other", expected_version=2)


async def test_a_deleted_alias_keeps_its_history_and_starts_anew(three: Registry) -> None:
    await three.aliases.set(ADA, MODEL, "champion", 1)
    with pytest.raises(AliasMoved):
        await three.aliases.delete(ADA, MODEL, "champion", expected_version=2)
    assert await three.aliases.delete(BOB, MODEL, "champion", expected_version=1) == 1
    with pytest.raises(AliasNotFound):
        await three.aliases.get(MODEL, "champion")
    (event,) = await three.happened(4)
    assert (event.kind, event.version, event.from_value, event.to_value) == (
        EventKind.ALIAS_DELETED,
        0,
        "1",
        "",
    )
    await three.aliases.set(ADA, MODEL, "champion", 2)
    with pytest.raises(NoPreviousVersion):
        await three.aliases.rollback(ADA, MODEL, "champion")
    moves = (await three.aliases.moves(MODEL, "champion")).items
    assert [(move.from_version, move.to_version) for move in moves] == [(0, 2), (1, 0), (0, 1)]


async def test_a_retry_gets_the_first_answer_even_if_the_alias_has_moved(three: Registry) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    first = await three.aliases.set(ADA, MODEL, "champion", 1, request_id=ids[0])
    await three.aliases.set(ADA, MODEL, "champion", 2)
    back = await three.aliases.rollback(ADA, MODEL, "champion", request_id=ids[1])
    await three.aliases.set(ADA, MODEL, "champion", 3)
    gone = await three.aliases.delete(ADA, MODEL, "champion", request_id=ids[2])
    await three.aliases.set(ADA, MODEL, "champion", 2)
    revision = await three.database.revision()
    assert await three.aliases.set(ADA, MODEL, "champion", 1, request_id=ids[0]) == first
    assert await three.aliases.rollback(ADA, MODEL, "champion", request_id=ids[1]) == back
    assert await three.aliases.delete(ADA, MODEL, "champion", request_id=ids[2]) == gone == 3
    assert await points_at(three) == 2
    assert await three.database.revision() == revision
    with pytest.raises(RequestIdReused):
        await three.aliases.set(ADA, MODEL, "champion", 2, request_id=ids[0])
    with pytest.raises(RequestIdReused):
        await three.aliases.delete(ADA, MODEL, "champion", request_id=ids[1])


async def test_a_retry_of_a_move_that_changed_nothing_changes_nothing(three: Registry) -> None:
    request_id = str(uuid.uuid4())
    await three.aliases.set(ADA, MODEL, "champion", 1)
    first = await three.aliases.set(BOB, MODEL, "champion", 1, request_id=request_id)
    await three.aliases.set(ADA, MODEL, "champion", 2)
    assert await three.aliases.set(BOB, MODEL, "champion", 1, request_id=request_id) == first
    assert await points_at(three) == 2


async def test_a_refused_move_leaves_its_request_id_free(three: Registry) -> None:
    request_id = str(uuid.uuid4())
    with pytest.raises(VersionNotFound):
        await three.aliases.set(ADA, MODEL, "champion", 9, request_id=request_id)
    await three.aliases.set(ADA, MODEL, "champion", 1, request_id=request_id)


async def test_an_alias_points_at_versions_that_exist(three: Registry) -> None:
    await three.versions.delete(ADA, f"{MODEL}:3")
    with pytest.raises(VersionNotFound, match="is deleted"):
        await three.aliases.set(ADA, MODEL, "champion", 3)
    with pytest.raises(VersionNotFound, match=r"The newest of model fraud/tc is 2\."):
        await three.aliases.set(ADA, MODEL, "champion", 4)
    with pytest.raises(ModelNotFound):
        await three.aliases.set(ADA, "no", "champion", 1)
    with pytest.raises(FieldInvalid):
        await three.aliases.set(ADA, MODEL, "champion", 0)
    with pytest.raises(AliasInvalid):
        await three.aliases.set(ADA, MODEL, "v7", 1)


async def test_a_missing_alias_is_answered_with_similar_ones(three: Registry) -> None:
    await three.aliases.set(ADA, MODEL, "champion", 1)
    for call in (
        three.aliases.get(MODEL, "champoin"),
        three.versions.resolve(f"{MODEL}@champoin"),
    ):
        with pytest.raises(AliasNotFound, match=r"Did you mean champion\?") as refusal:
            await call
        assert refusal.value.resource is not None
        assert refusal.value.resource.name == f"{MODEL}@champoin"


async def test_lists_of_aliases_and_moves_are_paged(three: Registry) -> None:
    for alias in ("b", "a", "c"):
        await three.aliases.set(ADA, MODEL, alias, 1)
    first = await three.aliases.list(MODEL, page_size=2)
    assert [alias.alias for alias in first.items] == ["a", "b"]
    last = await three.aliases.list(MODEL, page_size=2, page_token=first.next_page_token)
    assert ([alias.alias for alias in last.items], last.next_page_token) == (["c"], "")
    moves = await three.aliases.moves(MODEL, None, page_size=2)
    assert [move.alias for move in moves.items] == ["c", "a"]
    rest = await three.aliases.moves(MODEL, None, page_size=2, page_token=moves.next_page_token)
    assert ([move.alias for move in rest.items], rest.next_page_token) == (["b"], "")
    with pytest.raises(ModelNotFound):
        await three.aliases.list("no")
    with pytest.raises(ModelNotFound):
        await three.aliases.moves("no", None)
