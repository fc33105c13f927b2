"""Aliases against the simplest model of them: a stack of versions for each name."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from herdbook_server.errors import (
    AliasMoved,
    AliasNotFound,
    HerdbookError,
    NoPreviousVersion,
    VersionDeleted,
    VersionInUse,
    VersionNotFound,
)
from tests.unit.registry.conftest import ADA, MODEL, Registry

VERSIONS = (1, 2, 3, 4)
NAMES = ("champion", "challenger")


@dataclass(slots=True)
class Stacks:
    """What aliases should do: each rollback takes the top off."""

    pointed: dict[str, list[int]] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)

    def current(self, alias: str) -> int:
        return self.pointed.get(alias, [0])[-1]

    def set(self, alias: str, version: int, expected: int | None) -> type[HerdbookError] | None:
        if version in self.deleted:
            return VersionNotFound
        if expected not in {None, self.current(alias)}:
            return AliasMoved
        if version != self.current(alias):
            self.pointed.setdefault(alias, []).append(version)
        return None

    def rollback(self, alias: str) -> type[HerdbookError] | None:
        stack = self.pointed.get(alias)
        if stack is None:
            return AliasNotFound
        if len(stack) == 1:
            return NoPreviousVersion
        if stack[-2] in self.deleted:
            return VersionDeleted
        stack.pop()
        return None

    def delete(self, alias: str) -> type[HerdbookError] | None:
        return None if self.pointed.pop(alias, None) else AliasNotFound

    def delete_version(self, version: int, *, force: bool) -> type[HerdbookError] | None:
        using = [alias for alias in self.pointed if self.current(alias) == version]
        if using and not force:
            return VersionInUse
        for alias in using:
            del self.pointed[alias]
        self.deleted.add(version)
        return None

    def restore_version(self, version: int) -> None:
        self.deleted.discard(version)


async def step(registry: Registry, stacks: Stacks, chance: random.Random) -> None:
    """Does one thing to both and compares how it went."""
    alias, version = chance.choice(NAMES), chance.choice(VERSIONS)
    reference = f"{MODEL}:{version}"
    match chance.choice(["set"] * 4 + ["rollback"] * 3 + ["delete", "drop", "force", "restore"]):
        case "set":
            expected = chance.choice([None, None, stacks.current(alias), 0, 1])
            wanted = stacks.set(alias, version, expected)
            call = registry.aliases.set(ADA, MODEL, alias, version, expected_version=expected)
        case "rollback":
            wanted, call = stacks.rollback(alias), registry.aliases.rollback(ADA, MODEL, alias)
        case "delete":
            wanted, call = stacks.delete(alias), registry.aliases.delete(ADA, MODEL, alias)
        case "restore":
            wanted = stacks.restore_version(version)
            call = registry.versions.restore(ADA, reference)
        case how:
            force = how == "force"
            wanted = stacks.delete_version(version, force=force)
            call = registry.versions.delete(ADA, reference, force=force)
    if wanted is None:
        await call
    else:
        with pytest.raises(wanted):
            await call


async def pointed(registry: Registry) -> dict[str, int]:
    page = await registry.aliases.list(MODEL)
    return {alias.alias: alias.version for alias in page.items}


@pytest.mark.parametrize("seed", range(4))
async def test_any_walk_of_aliases_is_a_stack_of_versions(registry: Registry, seed: int) -> None:
    for _ in VERSIONS:
        await registry.register()
    stacks, chance = Stacks(), random.Random(seed)
    for _ in range(120):
        await step(registry, stacks, chance)
        wanted = {alias: stack[-1] for alias, stack in stacks.pointed.items()}
        assert await pointed(registry) == wanted
    await check_history(registry)


async def check_history(registry: Registry) -> None:
    """Moves and events tell the same, move follows move, and no revision is missing."""
    moves = (await registry.aliases.moves(MODEL, None, page_size=1000)).items[::-1]
    events = (await registry.events.search(page_size=1000)).items
    told = [
        (event.revision, event.alias, event.from_value, event.to_value)
        for event in events
        if event.alias
    ]
    assert sorted(told) == sorted(
        (move.revision, move.alias, str(move.from_version or ""), str(move.to_version or ""))
        for move in moves
    )
    at = dict.fromkeys(NAMES, 0)
    for move in moves:
        assert move.from_version == at[move.alias]
        at[move.alias] = move.to_version
    revisions = list(dict.fromkeys(event.revision for event in events))
    assert revisions == list(range(1, await registry.database.revision() + 1))


async def test_of_many_that_expect_the_same_one_wins(registry: Registry) -> None:
    for _ in range(2):
        await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    moves = (registry.aliases.set(ADA, MODEL, "champion", 2, expected_version=1) for _ in range(32))
    answers = await asyncio.gather(*moves, return_exceptions=True)
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    lost = [answer for answer in answers if isinstance(answer, AliasMoved)]
    assert (len(won), len(lost)) == (1, 31)
    assert {refusal.metadata["current_version"] for refusal in lost} == {"2"}
    assert len(await registry.happened(3)) == 1
