"""Versions: whole or not at all, numbered without gaps, never reused, found and described."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from dataclasses import replace

import pytest

from herdbook_server.artifacts.manifests import manifest_digest
from herdbook_server.errors import (
    AliasInvalid,
    AliasMoved,
    AliasNotFound,
    ChunksMissing,
    FieldInvalid,
    HerdbookError,
    LabelExists,
    LabelImmutable,
    ManifestInvalid,
    ModelDeleted,
    ModelNotFound,
    PathInvalid,
    ReferenceInvalid,
    RequestIdReused,
    RevisionChanged,
    VersionInUse,
    VersionNotFound,
)
from herdbook_server.ports.values import ChunkRef, Description, File, Stage
from herdbook_server.registry.versions import AliasTarget, Registration
from tests.unit.registry.conftest import ADA, MODEL, Registry

ONE = ChunkRef(hashlib.sha256(b"a").digest(), 1)
TWO = ChunkRef(hashlib.sha256(b"bb").digest(), 2)
FILES = (File("a", (ONE, TWO, ONE)), File("dir/empty", ()))


def targets(*aliases: str, expected_version: int | None = None) -> tuple[AliasTarget, ...]:
    return tuple(AliasTarget(alias, expected_version) for alias in aliases)


async def test_a_registration_whose_alias_moved_meanwhile_makes_no_version(
    registry: Registry,
) -> None:
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    asked = Registration(MODEL, Description(), source_uri="s3://bucket/model")
    losing = replace(asked, aliases=targets("champion", expected_version=0))
    with pytest.raises(AliasMoved):
        await registry.versions.register(ADA, losing)
    winning = replace(asked, aliases=targets("champion", expected_version=1))
    version = await registry.versions.register(ADA, winning)
    assert (version.number, version.aliases) == (2, ("champion",))


async def test_the_first_version_of_a_model_makes_the_model(registry: Registry) -> None:
    await registry.store_chunks(MODEL, ONE, TWO)
    version = await registry.versions.register(
        ADA,
        Registration(MODEL, Description(label="1.0.0"), FILES, aliases=targets("champion", "new")),
    )
    assert (version.number, version.aliases) == (1, ("champion", "new"))
    assert (version.stage, version.about.author) == (Stage.NONE, "ada")
    assert version.contents.digest == manifest_digest(FILES)
    assert (version.contents.size_bytes, version.contents.file_count) == (4, 2)
    model = await registry.models.get(MODEL)
    assert (model.latest_version, model.version_count, model.author) == (1, 1, "ada")
    events = await registry.happened()
    assert [(event.revision, event.position, event.kind.value) for event in events] == [
        (1, 0, "model_created"),
        (1, 1, "version_registered"),
        (1, 2, "alias_set"),
        (1, 3, "alias_set"),
    ]
    assert [event.alias for event in events] == ["", "", "champion", "new"]


async def test_everything_said_of_a_version_is_read_back(registry: Registry) -> None:
    about = Description(
        label="2.1.0-rc.1",
        description="What?",
        tags={"team": "fraud", "empty": ""},
        author="bob",
        params={"depth": "5"},
        metrics={"rmse": 6.9, "worst": float("inf")},
        signature={
            "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3], "optional": False}],
            "outputs": [],
            "params": [],
        },
        input_example={"x": [1, 2.5, None, True, "é"]},
        has_input_example=True,
        framework="scikit-learn",
        format="joblib",
        lineage={
            "run_id": "r1",
            "run_url": "https://runs/r1",
            "code": {"repository": "https://code", "commit": "3f1c", "dirty": True},
            "datasets": [{"name": "d", "uri": "s3://d", "digest": "x", "version": "1"}],
            "parents": ["team/base:3"],
            "training_duration_us": 12,
        },
        environment={
            "python": "3.11.7",
            "packages": {"numpy": "2.0"},
            "platform": "Linux",
            "hardware": "cpu",
        },
    )
    version = await registry.versions.register(
        ADA, Registration(MODEL, about, source_uri="s3://bucket/model")
    )
    assert version.about == about
    assert version == await registry.versions.get(f"{MODEL}:2.1.0-rc.1")
    assert (version.contents.digest, version.contents.source_uri) == (None, "s3://bucket/model")


async def test_versions_registered_at_once_are_numbered_without_gaps(registry: Registry) -> None:
    versions = await asyncio.gather(*(registry.register() for _ in range(20)))
    assert sorted(version.number for version in versions) == list(range(1, 21))
    assert await registry.database.revision() == 20


async def test_missing_chunks_are_listed_and_nothing_is_made(registry: Registry) -> None:
    await registry.store_chunks(MODEL, ONE)
    await registry.store_chunks("other", TWO)
    with pytest.raises(ChunksMissing) as refusal:
        await registry.versions.register(ADA, Registration(MODEL, Description(), FILES))
    assert [unmet.subject for unmet in refusal.value.conditions] == [TWO.digest.hex()]
    assert refusal.value.metadata == {"missing_count": "1"}
    with pytest.raises(ModelNotFound):
        await registry.models.get(MODEL)
    async with registry.database.read() as records:
        assert await records.manifests.file(manifest_digest(FILES), "a") is None
    assert await registry.database.revision() == 0
    await registry.store_chunks(MODEL, TWO)
    await registry.versions.register(ADA, Registration(MODEL, Description(), FILES))


async def test_a_chunk_listed_with_another_size_is_missing(registry: Registry) -> None:
    await registry.store_chunks(MODEL, ONE)
    lie = File("a", (replace(ONE, size_bytes=2),))
    with pytest.raises(ChunksMissing):
        await registry.versions.register(ADA, Registration(MODEL, Description(), (lie,)))


REGISTRATION = Registration(MODEL, Description(), source_uri="s3://bucket/model")


@pytest.mark.parametrize(
    ("registration", "refusal"),
    [
        (replace(REGISTRATION, source_uri=None), FieldInvalid),
        (replace(REGISTRATION, files=FILES), FieldInvalid),
        (replace(REGISTRATION, source_uri="bucket"), FieldInvalid),
        (replace(REGISTRATION, source_uri=None, files=()), ManifestInvalid),
        (replace(REGISTRATION, source_uri=None, files=(File("../x", ()),)), PathInvalid),
        (replace(REGISTRATION, aliases=targets("a") * 17), FieldInvalid),
        (replace(REGISTRATION, aliases=targets("7")), AliasInvalid),
        (replace(REGISTRATION, about=Description(metrics={"a": float("nan")})), FieldInvalid),
        (replace(REGISTRATION, about=Description(tags={"a": "x" * 10_000_000})), FieldInvalid),
        (replace(REGISTRATION, request_id="7"), FieldInvalid),
    ],
)
async def test_wrong_registrations_are_refused_and_store_nothing(
    registry: Registry, registration: Registration, refusal: type[HerdbookError]
) -> None:
    with pytest.raises(refusal):
        await registry.versions.register(ADA, registration)
    assert await registry.database.revision() == 0


async def test_a_retried_registration_gets_the_first_version(registry: Registry) -> None:
    await registry.store_chunks(MODEL, ONE, TWO)
    request_id = str(uuid.uuid4())
    asked = Registration(
        MODEL,
        Description(tags={"a": "1"}),
        FILES,
        aliases=targets("champion"),
        request_id=request_id,
    )
    first = await registry.versions.register(ADA, asked)
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 2)
    again = await registry.versions.register(ADA, replace(asked, files=FILES[::-1]))
    assert again == replace(first, aliases=())
    with pytest.raises(RequestIdReused):
        await registry.versions.register(ADA, replace(asked, files=FILES[:1]))
    assert await registry.database.revision() == 3


async def test_retries_that_race_make_one_version(registry: Registry) -> None:
    asked = replace(REGISTRATION, request_id=str(uuid.uuid4()))
    versions = await asyncio.gather(*(registry.versions.register(ADA, asked) for _ in range(8)))
    assert {version.number for version in versions} == {1}
    assert await registry.database.revision() == 1


async def test_a_label_is_unique_in_its_model_and_stays(registry: Registry) -> None:
    await registry.register(label="1.0.0")
    await registry.register()
    with pytest.raises(LabelExists):
        await registry.register(label="1.0.0")
    with pytest.raises(LabelExists):
        await registry.versions.update(ADA, f"{MODEL}:2", label="1.0.0")
    for label in ("1.0.1", ""):
        with pytest.raises(LabelImmutable):
            await registry.versions.update(ADA, f"{MODEL}:1", label=label)
    labelled = await registry.versions.update(ADA, f"{MODEL}:2", label="1.0.1")
    assert await registry.versions.get(f"{MODEL}:1.0.1") == labelled
    await registry.register("other", label="1.0.0")
    assert (await registry.register()).number == 3


async def test_a_deleted_model_takes_no_versions(registry: Registry) -> None:
    await registry.models.create(ADA, MODEL)
    await registry.models.delete(ADA, MODEL)
    with pytest.raises(ModelDeleted) as refusal:
        await registry.register()
    assert refusal.value.conditions[0].subject == MODEL


async def test_every_form_of_reference_resolves(registry: Registry) -> None:
    await registry.register(label="1.0.0")
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    await registry.stages.set(ADA, f"{MODEL}:1", Stage.PRODUCTION)
    for reference, number in (
        (MODEL, 2),
        (f"{MODEL}:1", 1),
        (f"{MODEL}:1.0.0", 1),
        (f"{MODEL}@champion", 1),
        (f"models:/{MODEL}/Production", 1),
        (f"models:/{MODEL}/latest", 2),
    ):
        resolution = await registry.versions.resolve(reference)
        assert (resolution.model, resolution.version) == (MODEL, number)
        assert (await registry.versions.get(reference)).number == number


async def test_what_is_missing_is_named_precisely(registry: Registry) -> None:
    await registry.models.create(ADA, "empty")
    await registry.register()
    for reference, error, resource in (
        ("no:1", ModelNotFound, ("model", "no")),
        ("no@champion", ModelNotFound, ("model", "no")),
        ("empty", VersionNotFound, ("version", "empty")),
        (f"{MODEL}:9", VersionNotFound, ("version", f"{MODEL}:9")),
        (f"{MODEL}:9.0.0", VersionNotFound, ("version", f"{MODEL}:9.0.0")),
        (f"{MODEL}@champion", AliasNotFound, ("alias", f"{MODEL}@champion")),
        (
            f"models:/{MODEL}/staging",
            VersionNotFound,
            ("version", f"models:/{MODEL}/Staging"),
        ),
    ):
        for call in (registry.versions.resolve(reference), registry.versions.get(reference)):
            with pytest.raises(error) as refusal:
                await call
            assert refusal.value.resource is not None
            assert (refusal.value.resource.type, refusal.value.resource.name) == resource


async def test_an_update_changes_what_it_is_given_and_no_more(registry: Registry) -> None:
    first = await registry.register(description="a", tags={"k": "v"}, metrics={"m": 1.5})
    reference = f"{MODEL}:1"
    assert await registry.versions.update(ADA, reference, description="a") == first
    registry.clock.time_us += 1
    updated = await registry.versions.update(
        ADA, reference, description="b", label="1.0.0", expected_revision=1
    )
    assert updated == await registry.versions.get(reference)
    assert (updated.about.description, updated.about.label, updated.revision) == ("b", "1.0.0", 2)
    assert updated.about.metrics == {"m": 1.5}
    with pytest.raises(RevisionChanged):
        await registry.versions.update(ADA, reference, description="c", expected_revision=1)
    tagged = await registry.versions.update_tags(
        ADA, reference, set_tags={"n": "w"}, delete_tags=["k"]
    )
    assert tagged.about.tags == {"n": "w"}
    events = await registry.happened(1)
    assert [(event.kind.value, event.version, event.to_value) for event in events] == [
        ("version_updated", 1, "1.0.0"),
        ("version_tagged", 1, ""),
    ]


async def test_edits_and_deletions_take_no_reference_that_may_move(registry: Registry) -> None:
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    for reference in (MODEL, f"{MODEL}@champion"):
        for call in (
            registry.versions.update(ADA, reference, description="x"),
            registry.versions.delete(ADA, reference, force=True),
            registry.versions.restore(ADA, reference),
        ):
            with pytest.raises(ReferenceInvalid):
                await call


async def test_a_version_in_use_is_not_deleted_and_each_use_is_named(registry: Registry) -> None:
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    await registry.aliases.set(ADA, MODEL, "also", 1)
    await registry.serve(1)
    with pytest.raises(VersionInUse) as refusal:
        await registry.versions.delete(ADA, f"{MODEL}:1")
    assert [(use.type, use.subject) for use in refusal.value.conditions] == [
        ("alias", f"{MODEL}@also"),
        ("alias", f"{MODEL}@champion"),
        ("replica", "pod-1"),
    ]
    assert (await registry.versions.get(f"{MODEL}:1")).deleted_at_us is None
    assert await registry.database.revision() == 3


async def test_a_forced_deletion_takes_the_aliases_along_in_one_revision(
    registry: Registry,
) -> None:
    await registry.register()
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 2)
    deleted = await registry.versions.delete(ADA, f"{MODEL}:2", force=True, reason="bad")
    assert (deleted.deleted_at_us, deleted.aliases) == (registry.clock.time_us, ())
    events = await registry.happened(3)
    assert [(event.revision, event.position, event.kind.value) for event in events] == [
        (4, 0, "alias_deleted"),
        (4, 1, "version_deleted"),
    ]
    assert {event.reason for event in events} == {"bad"}
    with pytest.raises(AliasNotFound):
        await registry.versions.resolve(f"{MODEL}@champion")
    model = await registry.models.get(MODEL)
    assert (model.latest_version, model.version_count) == (1, 1)


async def test_a_deleted_version_is_gone_until_it_is_restored(registry: Registry) -> None:
    await registry.register(label="1.0.0")
    await registry.register()
    deleted = await registry.versions.delete(ADA, f"{MODEL}:1.0.0")
    assert await registry.versions.delete(ADA, f"{MODEL}:1") == deleted
    for reference in (f"{MODEL}:1", f"{MODEL}:1.0.0"):
        with pytest.raises(VersionNotFound, match="is deleted"):
            await registry.versions.get(reference)
        assert await registry.versions.get(reference, show_deleted=True) == deleted
    with pytest.raises(VersionNotFound):
        await registry.versions.update(ADA, f"{MODEL}:1", description="x")
    restored = await registry.versions.restore(ADA, f"{MODEL}:1")
    assert await registry.versions.restore(ADA, f"{MODEL}:1") == restored
    assert await registry.versions.get(f"{MODEL}:1") == restored
    assert (await registry.models.get(MODEL)).version_count == 2
    kinds = [event.kind.value for event in await registry.happened(2)]
    assert kinds == ["version_deleted", "version_restored"]


async def test_numbers_of_deleted_versions_are_never_used_again(registry: Registry) -> None:
    await registry.register()
    await registry.versions.delete(ADA, f"{MODEL}:1")
    assert (await registry.models.get(MODEL)).latest_version == 0
    assert (await registry.register()).number == 2


async def test_versions_are_found_by_filter_and_order(registry: Registry) -> None:
    for rmse, team in ((7.5, "fraud"), (6.5, "fraud"), (6.0, "risk"), (6.9, "fraud")):
        await registry.register(metrics={"rmse": rmse}, tags={"team": team})
    await registry.register(tags={"team": "fraud"})
    await registry.register("other", metrics={"rmse": 1.0}, tags={"team": "fraud"})
    await registry.stages.set(ADA, f"{MODEL}:2", Stage.STAGING)
    await registry.aliases.set(ADA, MODEL, "champion", 4)

    async def found(filter_text: str, order_by: str = "", model: str | None = MODEL) -> list[int]:
        page = await registry.versions.search(model=model, filter=filter_text, order_by=order_by)
        return [version.number for version in page.items]

    wanted = 'metrics.rmse < 7 AND tags.team = "fraud"'
    assert await found(wanted, "metrics.rmse asc, number desc") == [2, 4]
    assert await found(f'{wanted} AND stage = "staging"') == [2]
    assert await found("", "metrics.rmse desc") == [1, 4, 2, 3, 5]
    assert await found("NOT metrics.rmse:*") == [5]
    assert await found("aliases:champion OR stage = STAGING") == [4, 2]
    assert await found("tags.team != fraud") == [3]
    assert await found(wanted, "model, number desc", model=None) == [4, 2, 1]
    with pytest.raises(ModelNotFound):
        await found("", model="no")


async def test_pages_of_versions_go_on_while_versions_are_added(registry: Registry) -> None:
    for _ in range(5):
        await registry.register()
    seen: list[int] = []
    token = ""
    while True:
        page = await registry.versions.search(model=MODEL, page_size=2, page_token=token)
        seen += [version.number for version in page.items]
        await registry.register()
        token = page.next_page_token
        if not token:
            break
    assert seen == [5, 4, 3, 2, 1]


async def test_a_page_of_heavy_versions_fits_one_message(registry: Registry) -> None:
    for _ in range(8):
        await registry.register(params={f"p{n}": "x" * 8192 for n in range(100)})
    page = await registry.versions.search(model=MODEL)
    assert [version.number for version in page.items] == [8, 7, 6]
    rest = await registry.versions.search(model=MODEL, page_token=page.next_page_token)
    assert [version.number for version in rest.items] == [5, 4, 3]


async def test_listed_versions_of_deleted_models_are_hidden(registry: Registry) -> None:
    await registry.register()
    await registry.models.delete(ADA, MODEL)
    assert not (await registry.versions.search()).items
    assert len((await registry.versions.search(show_deleted=True)).items) == 1
