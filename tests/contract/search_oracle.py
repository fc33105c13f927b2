"""What a search should find, worked out in Python from the port's words alone."""

from __future__ import annotations

import functools
import operator
import random
from typing import TYPE_CHECKING, Any

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
from herdbook_server.ports.values import Contents, Stage, Version
from tests.contract.database_rows import version

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = "x" * 127
TEXTS = [
    "",
    "a",
    "ab",
    "b",
    "é",
    "\U0001f404",
    "\uff21",
    LONG,
    LONG + "y",
    LONG + "yz",
    LONG + "yy",
]
OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "prefix": lambda value, prefix: value.startswith(prefix),
    "has": lambda values, value: value in values,
}


def digest_text(one: Version) -> str | None:
    """Return the digest as filters spell it."""
    return one.contents.digest and f"sha256:{one.contents.digest.hex()}"


PLAIN = {
    "model": lambda one: one.model,
    "number": lambda one: one.number,
    "label": lambda one: one.about.label,
    "description": lambda one: one.about.description,
    "stage": lambda one: one.stage.value,
    "author": lambda one: one.about.author,
    "framework": lambda one: one.about.framework,
    "digest": digest_text,
    "size_bytes": lambda one: one.contents.size_bytes,
    "created_at": lambda one: one.created_at_us,
    "lineage.run_id": lambda one: (one.about.lineage or {}).get("run_id"),
}
NUMERIC = {"number", "size_bytes", "created_at", "metrics"}


def value_of(one: Version, field: Field) -> Any:
    """Return a field's value; None if it is absent."""
    if field.key is not None:
        return getattr(one.about, field.name).get(field.key)
    return PLAIN[field.name](one)


def matches(one: Version, condition: Condition) -> bool:
    """Tell whether a condition holds for a version."""
    match condition:
        case Not(inner):
            return not matches(one, inner)
        case All(parts):
            return all(matches(one, part) for part in parts)
        case AnyOf(parts):
            return any(matches(one, part) for part in parts)
        case Presence(field):
            return value_of(one, field) not in {None, ""}
        case Comparison(field, how, value):
            mine = value_of(one, field)
            return mine is not None and OPERATORS[how](mine, value)


def in_order(versions: Sequence[Version], order: Sequence[SortKey]) -> list[tuple[str, int]]:
    """Return the versions' names in the order asked for, made total by model and number."""
    keys = [*order, SortKey(Field("model")), SortKey(Field("number"), descending=True)]

    def compare(one: Version, other: Version) -> int:
        for key in keys:
            mine, its = value_of(one, key.field), value_of(other, key.field)
            if mine == its:
                continue
            if mine is None or its is None:
                return 1 if mine is None else -1
            return (-1 if mine < its else 1) * (-1 if key.descending else 1)
        return 0

    found = sorted(versions, key=functools.cmp_to_key(compare))
    return [(one.model, one.number) for one in found]


def some_versions(rng: random.Random, digest: bytes) -> list[Version]:
    """Return versions with all kinds of values, and without them."""
    return [
        some_version(rng, digest, model, number)
        for model in ("m", "n", "o")
        for number in range(1, 41)
    ]


def some_version(rng: random.Random, digest: bytes, model: str, number: int) -> Version:
    """Return a version of random values; each is common enough to be found, and absent at times."""
    return version(
        number,
        model,
        label=rng.choice([None, f"1.0.{number}"]),
        description=rng.choice(["", "good", "bad"]),
        author=rng.choice(TEXTS[:3]),
        framework=rng.choice(["torch", "sklearn"]),
        stage=rng.choice(list(Stage)),
        tags={key: rng.choice(TEXTS) for key in "tu" if rng.random() < 0.7},
        params={key: rng.choice(TEXTS) for key in "p" if rng.random() < 0.7},
        metrics={key: some_number(rng) for key in "ab" if rng.random() < 0.7},
        lineage=rng.choice([None, {"run_id": rng.choice(TEXTS[1:4])}]),
        created_at_us=rng.randrange(20),
        deleted_at_us=1 if rng.random() < 0.1 else None,
        contents=Contents(rng.choice([None, digest]), "", rng.randrange(5), 1),
    )


def some_number(rng: random.Random) -> float:
    """Return a double out of a few."""
    return rng.choice([-1.5, 0.0, 0.5, 2.0, 3.0, float("inf"), float("-inf")])


def some_field(rng: random.Random) -> Field:
    """Return a field that can be compared and sorted by."""
    name = rng.choice([*PLAIN, "metrics", "metrics", "tags", "tags", "params"])
    keys = {"metrics": "abc", "tags": "tuv", "params": "pq"}
    return Field(name, rng.choice(keys[name]) if name in keys else None)


def some_condition(rng: random.Random, depth: int) -> Condition:
    """Return a condition of some depth."""
    kind = rng.choice(["not", "all", "all", "any"]) if depth and rng.random() < 0.7 else "leaf"
    if kind == "not":
        return Not(some_condition(rng, depth - 1))
    if kind == "leaf":
        return some_leaf(rng)
    parts = tuple(some_condition(rng, depth - 1) for _ in range(rng.randrange(1, 4)))
    return All(parts) if kind == "all" else AnyOf(parts)


def some_leaf(rng: random.Random) -> Condition:
    """Return a comparison or a presence."""
    field = some_field(rng)
    if rng.random() < 0.15:
        return Presence(field)
    if field.name in NUMERIC:
        how = rng.choice(["=", "!=", "<", "<=", ">", ">="])
        return Comparison(field, how, rng.choice([0, 1, 2, 0.5, 2.5, 12, float("inf"), 2**70]))
    how = rng.choice(["=", "!=", "<", "<=", ">", ">=", "prefix", "prefix"])
    return Comparison(field, how, rng.choice([*TEXTS, "staging", "production", "sha256:", "m"]))


def some_order(rng: random.Random) -> tuple[SortKey, ...]:
    """Return up to three sort keys."""
    return tuple(SortKey(some_field(rng), rng.random() < 0.5) for _ in range(rng.randrange(4)))
