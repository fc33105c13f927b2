"""Searches by random filters and orders, page by page, against a plain reading of each filter."""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Callable
from typing import Any

import pytest

from herdbook_server.ports.queries import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Field,
    Not,
    Presence,
    SortKey,
)
from herdbook_server.ports.values import Stage, Version
from herdbook_server.registry.filters import VERSION_FIELDS, parse_filter, parse_order_by
from tests.unit.registry.conftest import ADA, MODEL, Registry

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "prefix": lambda value, start: value.startswith(start),
    "has": lambda values, member: member in values,
}
LEAVES = (
    'tags.team = "fraud"',
    'tags.team != "fraud"',
    'tags.team = "fr*"',
    "tags.team:*",
    "tags:note",
    r'tags.note = "100\*"',
    'tags.note = "é*"',
    "params.depth = 5",
    "metrics.rmse < 7",
    "metrics.rmse >= 6.5",
    "metrics.rmse != 7",
    "metrics.rmse:*",
    "metrics.val.auc > .5",
    "number > 12",
    "number <= 20",
    "number = 9223372036854775807",
    "stage = production",
    "stage != NONE",
    "aliases:champion",
    "aliases:*",
    "author = bob",
    "author = a*",
    "label:*",
    "label != 1.0.3",
    "label = 1.*",
    "model = fraud/*",
    "created_at > 1970-01-01T00:00:10Z",
    "lineage.run_id = run1",
    "size_bytes = 0",
    "source_uri = s3://*",
    'digest = "sha256:*"',
    "description = x",
)
ORDERS = (
    "",
    "number",
    "number desc",
    "metrics.rmse",
    "metrics.rmse desc, number",
    "tags.team, metrics.rmse desc",
    "tags.team desc",
    "author, created_at desc",
    "label desc",
    "stage, number desc",
    "params.depth desc, author",
    "model desc, number",
    "lineage.run_id, number",
)


def value_of(version: Version, field: Field) -> Any:
    """What a version has there; None if nothing."""
    about = version.about
    match field.name:
        case "tags" | "params" | "metrics":
            return getattr(about, field.name).get(field.key)
        case "model" | "number" | "aliases" | "stage":
            return getattr(version, field.name)
        case "created_at" | "updated_at":
            return getattr(version, f"{field.name}_us")
        case "size_bytes" | "source_uri" | "digest":
            return getattr(version.contents, field.name)
        case "lineage.run_id":
            return (about.lineage or {}).get("run_id") or None
        case name:
            return getattr(about, name)


def holds(condition: Condition, version: Version) -> bool:
    match condition:
        case Comparison(field, how, value):
            found = value_of(version, field)
            return found is not None and COMPARE[how](found, value)
        case Presence(field):
            return value_of(version, field) not in {None, "", ()}
        case Not(inner):
            return not holds(inner, version)
        case All(inners):
            return all(holds(inner, version) for inner in inners)
        case AnyOf(inners):
            return any(holds(inner, version) for inner in inners)


def compared(keys: tuple[SortKey, ...], one: Version, two: Version) -> int:
    for key in keys:
        left, right = value_of(one, key.field), value_of(two, key.field)
        if left == right:
            continue
        if left is None or right is None:
            return 1 if left is None else -1
        return (1 if left > right else -1) * (-1 if key.descending else 1)
    return 0


def random_filter(chance: random.Random, depth: int = 3) -> str:
    match chance.choice(["leaf", "leaf", "not", "and", "or"]) if depth else "leaf":
        case "not":
            return f"NOT ({random_filter(chance, depth - 1)})"
        case "and" | "or" as word:
            parts = [random_filter(chance, depth - 1) for _ in range(chance.randint(2, 3))]
            return f" {word} ".join(f"({part})" for part in parts)
        case _:
            return chance.choice(LEAVES)


async def fill(registry: Registry, chance: random.Random) -> list[Version]:
    """Versions of two models that differ in everything that filters ask for."""
    for number in range(1, 31):
        registry.clock.time_us = 1_000_000 * number
        model = chance.choice([MODEL, MODEL, "risk"])
        await registry.register(
            model,
            label=chance.choice([None, f"1.0.{number}"]),
            author=chance.choice(["ada", "bob", "al"]),
            tags=chance.choice(
                [{}, {"team": "fraud"}, {"team": "frames", "note": "100*"}, {"note": "été"}]
            ),
            params=chance.choice([{}, {"depth": "5"}, {"depth": "50"}]),
            metrics=chance.choice(
                [{}, {"rmse": 6.5}, {"rmse": 7.0, "val.auc": 0.75}, {"rmse": -1e300}]
            ),
            lineage=chance.choice([None, lineage("run1"), lineage("")]),
        )
        newest = f"models:/{model}/latest"
        await registry.stages.set(ADA, newest, chance.choice(list(Stage)))
    await registry.aliases.set(ADA, MODEL, "champion", 3)
    await registry.aliases.set(ADA, "risk", "other", 2)
    await registry.versions.delete(ADA, f"{MODEL}:1")
    return list((await registry.versions.search()).items)


def lineage(run_id: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "run_url": "",
        "code": None,
        "datasets": [],
        "parents": [],
        "training_duration_us": None,
    }


async def searched(registry: Registry, page_size: int, **asked: Any) -> list[Version]:
    found: list[Version] = []
    token = ""
    while True:
        page = await registry.versions.search(page_size=page_size, page_token=token, **asked)
        found += page.items
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("seed", range(3))
async def test_a_search_finds_what_its_filter_says_in_the_order_asked(
    registry: Registry, seed: int
) -> None:
    chance = random.Random(seed)
    everything = await fill(registry, chance)
    assert len(everything) == 29
    for _ in range(60):
        text, order = random_filter(chance), chance.choice(ORDERS)
        model = chance.choice([None, MODEL])
        condition = parse_filter(text, VERSION_FIELDS)
        assert condition is not None
        wanted = [
            version
            for version in everything
            if holds(condition, version) and model in {None, version.model}
        ]
        found = await searched(
            registry, chance.randint(1, 9), model=model, filter=text, order_by=order
        )
        names = [(version.model, version.number) for version in found]
        assert sorted(names) == sorted((v.model, v.number) for v in wanted), text
        keys = parse_order_by(order or "model, number desc", VERSION_FIELDS)
        for before, after in itertools.pairwise(found):
            assert compared(keys, before, after) <= 0, (text, order)
