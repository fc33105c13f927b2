"""Stages: where a version stands, for people who work in stages."""

from __future__ import annotations

from dataclasses import dataclass, replace

from herdbook_server.errors import FieldInvalid
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.values import EventKind, Stage, Version
from herdbook_server.registry import rules
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.lookup import existing_version
from herdbook_server.registry.references import parse_reference
from herdbook_server.registry.writing import Write, writing

STAGES_VACATED = frozenset({Stage.STAGING, Stage.PRODUCTION})
"""Stages whose other versions can be archived; everything starts in none and ends in archived."""


@dataclass(frozen=True, slots=True)
class StageChange:
    """What became of a version and of those it replaces."""

    version: Version
    archived: tuple[int, ...]
    """Numbers, ascending."""


class StageRegistry:
    """The stages of the record's versions."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def set(
        self,
        caller: Caller,
        reference: str,
        stage: Stage,
        *,
        archive_existing: bool = False,
        reason: str = "",
    ) -> StageChange:
        """Moves a version to a stage, and can archive the others there in the same transaction.

        What is so already succeeds and notes nothing.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound: There is no such version.
            ReferenceInvalid, FieldInvalid: The request is wrong.
        """
        named = parse_reference(reference)
        rules.check_reason(reason)
        if archive_existing and stage not in STAGES_VACATED:
            raise rules.refuse(
                FieldInvalid,
                "archive_existing",
                f"Versions are archived from staging and production, not from {stage.value}.",
            )
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            version = await existing_version(write.records, named)
            archived = await _vacate(write, version, stage) if archive_existing else ()
            return StageChange(await _move(write, version, stage), archived)


async def _vacate(write: Write, version: Version, stage: Stage) -> tuple[int, ...]:
    """Archives the others first: read in order, the events never show two in the stage."""
    archived = await write.records.versions.archive_others(
        version, stage, time_us=write.time_us, revision=write.revision
    )
    for number in archived:
        _note(write, version.model, number, before=stage, now=Stage.ARCHIVED)
    return tuple(archived)


async def _move(write: Write, version: Version, stage: Stage) -> Version:
    if version.stage is stage:
        return version
    moved = replace(version, stage=stage, updated_at_us=write.time_us, revision=write.revision)
    await write.records.versions.save(moved)
    _note(write, version.model, version.number, before=version.stage, now=stage)
    return moved


def _note(write: Write, model: str, number: int, *, before: Stage, now: Stage) -> None:
    write.note(
        EventKind.STAGE_SET, model, version=number, from_value=before.value, to_value=now.value
    )
