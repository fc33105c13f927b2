"""Models: create, describe, delete, restore, and what each leaves in the record."""

from __future__ import annotations

import uuid

import pytest

from herdbook_server.errors import (
    FieldInvalid,
    FilterInvalid,
    ModelExists,
    ModelInUse,
    ModelNotFound,
    NameInvalid,
    PageTokenInvalid,
    RequestIdReused,
    RevisionChanged,
)
from herdbook_server.registry.callers import Caller
from tests.unit.registry.conftest import ADA, MODEL, Registry

BOB = Caller("bob")


async def test_a_created_model_is_read_back_with_who_when_and_why(registry: Registry) -> None:
    created = await registry.models.create(
        ADA, MODEL, description="Which?", tags={"team": "fraud"}, reason="new"
    )
    assert created == await registry.models.get(MODEL)
    assert (created.author, created.created_at_us, created.revision) == ("ada", 1_000_000, 1)
    assert (created.latest_version, created.version_count) == (0, 0)
    (event,) = await registry.happened()
    assert (event.kind.value, event.model, event.actor) == ("model_created", MODEL, "ada")
    assert (event.revision, event.position, event.time_us, event.reason) == (1, 0, 1_000_000, "new")


async def test_a_name_is_taken_once_even_by_a_deleted_model(registry: Registry) -> None:
    await registry.models.create(ADA, MODEL)
    with pytest.raises(ModelExists, match=r"exists\.$"):
        await registry.models.create(ADA, MODEL)
    await registry.models.delete(ADA, MODEL)
    with pytest.raises(ModelExists, match="restore it") as refusal:
        await registry.models.create(ADA, MODEL)
    assert refusal.value.resource is not None
    assert refusal.value.resource.name == MODEL


async def test_a_retried_creation_gets_the_first_answer(registry: Registry) -> None:
    request_id = str(uuid.uuid4())
    first = await registry.models.create(ADA, MODEL, description="a", request_id=request_id)
    again = await registry.models.create(ADA, MODEL, description="a", request_id=request_id.upper())
    assert again == first
    assert len(await registry.happened()) == 1
    with pytest.raises(RequestIdReused):
        await registry.models.create(ADA, MODEL, description="b", request_id=request_id)
    with pytest.raises(RequestIdReused):
        await registry.models.create(BOB, MODEL, description="a", request_id=request_id)


async def test_an_update_with_nothing_new_notes_nothing(registry: Registry) -> None:
    created = await registry.models.create(ADA, MODEL, description="a", tags={"k": "v"})
    registry.clock.time_us += 1
    assert await registry.models.update(ADA, MODEL, description="a") == created
    assert await registry.models.update(ADA, MODEL) == created
    assert (
        await registry.models.update_tags(ADA, MODEL, set_tags={"k": "v"}, delete_tags=["gone"])
        == created
    )
    assert await registry.models.restore(ADA, MODEL) == created
    assert len(await registry.happened()) == 1


async def test_a_negative_revision_is_no_revision(registry: Registry) -> None:
    await registry.models.create(ADA, MODEL)
    with pytest.raises(FieldInvalid) as refusal:
        await registry.models.update(BOB, MODEL, description="b", expected_revision=-1)
    assert [violation.field for violation in refusal.value.fields] == ["expected_revision"]
    await registry.register()
    with pytest.raises(FieldInvalid):
        await registry.versions.update(BOB, f"{MODEL}:1", description="b", expected_revision=-1)


async def test_an_update_changes_the_description_and_the_revision(registry: Registry) -> None:
    await registry.models.create(ADA, MODEL, description="a")
    registry.clock.time_us += 5
    updated = await registry.models.update(BOB, MODEL, description="b", expected_revision=1)
    assert updated == await registry.models.get(MODEL)
    assert (updated.description, updated.revision, updated.author) == ("b", 2, "ada")
    assert updated.updated_at_us == updated.created_at_us + 5
    with pytest.raises(RevisionChanged) as refusal:
        await registry.models.update(ADA, MODEL, description="c", expected_revision=1)
    assert refusal.value.metadata == {"current_revision": "2"}
    assert [event.kind.value for event in await registry.happened(1)] == ["model_updated"]


async def test_tags_are_set_and_deleted_one_by_one(registry: Registry) -> None:
    await registry.models.create(ADA, MODEL, tags={"a": "1", "b": "2"})
    tagged = await registry.models.update_tags(
        ADA, MODEL, set_tags={"b": "3", "c": ""}, delete_tags=["a"]
    )
    assert tagged.tags == {"b": "3", "c": ""}
    assert tagged == await registry.models.get(MODEL)
    assert [event.kind.value for event in await registry.happened(1)] == ["model_tagged"]


async def test_tags_have_limits_after_the_change_too(registry: Registry) -> None:
    await registry.models.create(ADA, MODEL, tags={f"k{n}": "" for n in range(128)})
    with pytest.raises(FieldInvalid, match="129 are given"):
        await registry.models.update_tags(ADA, MODEL, set_tags={"new": ""}, delete_tags=[])
    await registry.models.update_tags(ADA, MODEL, set_tags={"new": ""}, delete_tags=["k0"])
    with pytest.raises(FieldInvalid, match="set and to be deleted"):
        await registry.models.update_tags(ADA, MODEL, set_tags={"a": ""}, delete_tags=["a"])


async def test_a_deleted_model_is_gone_until_it_is_restored(registry: Registry) -> None:
    await registry.register(tags={"k": "v"})
    before = await registry.models.get(MODEL)
    deleted = await registry.models.delete(ADA, MODEL)
    assert deleted.deleted_at_us == registry.clock.time_us
    assert await registry.models.delete(ADA, MODEL) == deleted
    for read in (
        registry.models.get(MODEL),
        registry.versions.get(f"{MODEL}:1"),
        registry.versions.resolve(MODEL),
        registry.aliases.list(MODEL),
        registry.models.update(ADA, MODEL, description="x"),
    ):
        with pytest.raises(ModelNotFound, match="is deleted"):
            await read
    assert await registry.models.get(MODEL, show_deleted=True) == deleted
    assert not (await registry.models.search()).items
    assert (await registry.models.search(show_deleted=True)).items == (deleted,)
    restored = await registry.models.restore(ADA, MODEL)
    assert restored.version_count == before.version_count == 1
    assert (await registry.versions.resolve(MODEL)).version == 1
    kinds = [event.kind.value for event in await registry.happened(before.revision)]
    assert kinds == ["model_deleted", "model_restored"]


async def test_a_model_in_use_is_deleted_by_force_alone_and_keeps_its_aliases(
    registry: Registry,
) -> None:
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    await registry.serve(1)
    with pytest.raises(ModelInUse) as refusal:
        await registry.models.delete(ADA, MODEL)
    assert [(use.type, use.subject) for use in refusal.value.conditions] == [
        ("alias", f"{MODEL}@champion"),
        ("replica", "pod-1"),
    ]
    await registry.models.delete(ADA, MODEL, force=True)
    await registry.models.restore(ADA, MODEL)
    assert (await registry.aliases.get(MODEL, "champion")).version == 1


async def test_a_replica_whose_lease_ran_out_keeps_nothing(registry: Registry) -> None:
    await registry.register()
    await registry.serve(1)
    registry.clock.time_us += 11
    await registry.models.delete(ADA, MODEL)


async def test_what_does_not_exist_is_not_found(registry: Registry) -> None:
    for call in (
        registry.models.get("no"),
        registry.models.update(ADA, "no", description=""),
        registry.models.update_tags(ADA, "no", set_tags={}, delete_tags=[]),
        registry.models.delete(ADA, "no"),
        registry.models.restore(ADA, "no"),
    ):
        with pytest.raises(ModelNotFound) as refusal:
            await call
        assert refusal.value.resource is not None
        assert (refusal.value.resource.type, refusal.value.resource.name) == ("model", "no")
    assert await registry.happened() == []


async def test_wrong_requests_store_nothing(registry: Registry) -> None:
    with pytest.raises(NameInvalid):
        await registry.models.create(ADA, "a//b")
    with pytest.raises(FieldInvalid):
        await registry.models.create(ADA, "a", tags={"k": "x" * 10_000_000})
    with pytest.raises(FieldInvalid):
        await registry.models.create(ADA, "a", request_id="7")
    with pytest.raises(FieldInvalid):
        await registry.models.create(ADA, "a", reason="x" * 4097)
    with pytest.raises(FilterInvalid):
        await registry.models.search(filter="(" * 10_000)
    assert not (await registry.models.search(show_deleted=True)).items
    assert await registry.database.revision() == 0


async def test_pages_of_models_go_on_while_models_are_added(registry: Registry) -> None:
    for name in ("b", "d", "f"):
        await registry.models.create(ADA, name, tags={"k": name})
    first = await registry.models.search(page_size=2)
    assert [model.name for model in first.items] == ["b", "d"]
    for name in ("a", "c", "e"):
        await registry.models.create(ADA, name)
    rest = await registry.models.search(page_size=2, page_token=first.next_page_token)
    assert [model.name for model in rest.items] == ["e", "f"]
    assert rest.next_page_token == ""
    with pytest.raises(PageTokenInvalid):
        await registry.models.search(order_by="name desc", page_token=first.next_page_token)


async def test_models_are_found_by_filter_and_order(registry: Registry) -> None:
    for name, team in (("a", "fraud"), ("b", "risk"), ("c", "frames")):
        await registry.models.create(ADA, name, tags={"team": team})
    found = await registry.models.search(
        filter='tags.team = "fr*" AND NOT name = x', order_by="tags.team"
    )
    assert [model.name for model in found.items] == ["c", "a"]
