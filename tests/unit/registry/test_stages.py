"""Stages: readers never see none or two in production."""

from __future__ import annotations

import pytest

from herdbook_server.errors import FieldInvalid, VersionNotFound
from herdbook_server.ports.values import Stage
from tests.unit.registry.conftest import ADA, MODEL, Registry


async def test_a_version_moves_and_the_others_there_are_archived(registry: Registry) -> None:
    for _ in range(3):
        await registry.register()
    await registry.stages.set(ADA, f"{MODEL}:1", Stage.PRODUCTION)
    await registry.stages.set(ADA, f"{MODEL}:2", Stage.PRODUCTION)
    change = await registry.stages.set(
        ADA, f"{MODEL}:3", Stage.PRODUCTION, archive_existing=True, reason="better"
    )
    assert change.version == await registry.versions.get(f"{MODEL}:3")
    assert (change.version.stage, change.archived) == (Stage.PRODUCTION, (1, 2))
    assert (await registry.versions.get(f"{MODEL}:1")).stage is Stage.ARCHIVED
    events = await registry.happened(5)
    assert [
        (event.revision, event.position, event.version, event.from_value, event.to_value)
        for event in events
    ] == [
        (6, 0, 1, "production", "archived"),
        (6, 1, 2, "production", "archived"),
        (6, 2, 3, "none", "production"),
    ]


async def test_moving_a_version_to_its_own_stage_notes_nothing(registry: Registry) -> None:
    await registry.register()
    change = await registry.stages.set(ADA, MODEL, Stage.NONE)
    assert (change.version.revision, change.archived) == (1, ())
    await registry.stages.set(ADA, MODEL, Stage.STAGING)
    again = await registry.stages.set(ADA, MODEL, Stage.STAGING, archive_existing=True)
    assert (again.version.stage, again.archived) == (Stage.STAGING, ())
    assert await registry.database.revision() == 2


async def test_a_version_that_is_there_still_archives_the_others(registry: Registry) -> None:
    for number in (1, 2):
        await registry.register()
        await registry.stages.set(ADA, f"{MODEL}:{number}", Stage.PRODUCTION)
    change = await registry.stages.set(ADA, f"{MODEL}:2", Stage.PRODUCTION, archive_existing=True)
    assert change.archived == (1,)
    assert change.version.stage is Stage.PRODUCTION


@pytest.mark.parametrize("stage", [Stage.NONE, Stage.ARCHIVED])
async def test_only_staging_and_production_are_vacated(registry: Registry, stage: Stage) -> None:
    await registry.register()
    with pytest.raises(FieldInvalid):
        await registry.stages.set(ADA, MODEL, stage, archive_existing=True)


async def test_deleted_versions_stay_where_they_are(registry: Registry) -> None:
    await registry.register()
    await registry.register()
    await registry.stages.set(ADA, f"{MODEL}:1", Stage.PRODUCTION)
    await registry.versions.delete(ADA, f"{MODEL}:1")
    with pytest.raises(VersionNotFound):
        await registry.stages.set(ADA, f"{MODEL}:1", Stage.STAGING)
    change = await registry.stages.set(ADA, f"{MODEL}:2", Stage.PRODUCTION, archive_existing=True)
    assert change.archived == ()
