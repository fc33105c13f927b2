"""How aliases move, whoever moves them: by name, with a new version, or with a deleted one."""

from __future__ import annotations

from dataclasses import dataclass

from herdbook_server.errors import AliasMoved, NoPreviousVersion, UnmetCondition, VersionDeleted
from herdbook_server.ports.references import ByAlias, ByNumber
from herdbook_server.ports.values import Alias, AliasMove, EventKind
from herdbook_server.registry.lookup import alias_resource
from herdbook_server.registry.writing import Write


@dataclass(frozen=True, slots=True)
class AliasChange:
    """What became of an alias."""

    alias: Alias
    previous_version: int
    """0: it did not exist."""


async def point_alias(
    write: Write, model: str, alias: str, *, version: int, expected_version: int | None = None
) -> AliasChange:
    """Points an alias at a version that exists, unless it does so already.

    Raises:
        AliasMoved: It does not point at the expected version; 0 expects that it does not exist.
    """
    present = await write.records.aliases.get(model, alias)
    check_expected(model, alias, present, expected_version)
    if present is not None and present.version == version:
        return AliasChange(present, version)
    move = _move(
        write,
        model,
        alias,
        present=present,
        to_version=version,
        undo_revision=present.revision if present else None,
    )
    return await _put(write, move)


async def roll_back_alias(write: Write, present: Alias) -> AliasChange:
    """Points an alias at what it pointed at before; again, at what it pointed at before that.

    Raises:
        NoPreviousVersion: It pointed at nothing before.
        VersionDeleted: The version it pointed at is deleted.
    """
    undone = await write.records.aliases.get_move(present.model, present.alias, present.revision)
    restored = None
    if undone is not None and undone.undo_revision is not None:
        restored = await write.records.aliases.get_move(
            present.model, present.alias, undone.undo_revision
        )
    if restored is None:
        raise _nothing_before(present)
    await _check_alive(write, present, restored.to_version)
    move = _move(
        write,
        present.model,
        present.alias,
        present=present,
        to_version=restored.to_version,
        undo_revision=restored.undo_revision,
        rollback=True,
    )
    return await _put(write, move)


async def remove_alias(write: Write, present: Alias) -> AliasChange:
    """Deletes an alias; its history stays. The change shows it at version 0."""
    move = _move(
        write, present.model, present.alias, present=present, to_version=0, undo_revision=None
    )
    await write.records.aliases.delete(present.model, present.alias)
    await write.records.aliases.add_move(move)
    write.note(
        EventKind.ALIAS_DELETED,
        present.model,
        alias=present.alias,
        from_value=str(present.version),
    )
    return AliasChange(moved_alias(move), present.version)


def check_expected(
    model: str, alias: str, present: Alias | None, expected_version: int | None
) -> None:
    """Refuses to move what somebody else moved first. Raises AliasMoved."""
    current = present.version if present else 0
    if expected_version is None or expected_version == current:
        return
    found = f"points at version {current}" if current else "does not exist"
    expected = f"at version {expected_version}" if expected_version else "not to exist"
    raise AliasMoved(
        f"Alias {ByAlias(model, alias)} {found}; it was expected {expected}.",
        resource=alias_resource(model, alias),
        metadata={"current_version": str(current)},
    )


def moved_alias(move: AliasMove) -> Alias:
    """The alias as a move left it."""
    return Alias(
        model=move.model,
        alias=move.alias,
        version=move.to_version,
        moved_at_us=move.time_us,
        moved_by=move.actor,
        revision=move.revision,
    )


async def _put(write: Write, move: AliasMove) -> AliasChange:
    alias = moved_alias(move)
    await write.records.aliases.put(alias)
    await write.records.aliases.add_move(move)
    write.note(
        EventKind.ALIAS_SET,
        move.model,
        version=move.to_version,
        alias=move.alias,
        from_value=str(move.from_version or ""),
        to_value=str(move.to_version),
    )
    return AliasChange(alias, move.from_version)


def _move(
    write: Write,
    model: str,
    alias: str,
    *,
    present: Alias | None,
    to_version: int,
    undo_revision: int | None,
    rollback: bool = False,
) -> AliasMove:
    return AliasMove(
        revision=write.revision,
        model=model,
        alias=alias,
        from_version=present.version if present else 0,
        to_version=to_version,
        undo_revision=undo_revision,
        rollback=rollback,
        actor=write.change.actor,
        time_us=write.time_us,
        reason=write.change.reason,
    )


async def _check_alive(write: Write, alias: Alias, number: int) -> None:
    reference = ByNumber(alias.model, number)
    if await write.records.versions.resolve(reference) is None:
        raise VersionDeleted(
            f"Alias {ByAlias(alias.model, alias.alias)} pointed at version {number} before, "
            "which is deleted: restore it first.",
            conditions=[UnmetCondition("version", str(reference), "is deleted")],
        )


def _nothing_before(present: Alias) -> NoPreviousVersion:
    name = str(ByAlias(present.model, present.alias))
    return NoPreviousVersion(
        f"Alias {name} pointed at nothing before version {present.version}.",
        conditions=[UnmetCondition("alias", name, "has no previous version")],
    )
