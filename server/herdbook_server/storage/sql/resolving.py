"""Statements that tell what references name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from herdbook_server.ports.references import (
    ByAlias,
    ByLabel,
    ByNumber,
    Newest,
    NewestInStage,
    Reference,
)
from herdbook_server.ports.values import Resolution
from herdbook_server.storage.sql.connection import Row, Value, padded

NAMED: Final = "v.model, v.number, v.manifest_digest, v.source_uri, v.size_bytes"

ALIVE: Final = "v.deleted_at_us IS NULL AND m.deleted_at_us IS NULL"

VERSIONS_AND_MODELS: Final = "versions v JOIN models m ON m.name = v.model"

BY_ALIAS = f"""
    SELECT {NAMED}, 0, a.alias FROM aliases a
    JOIN versions v ON v.model = a.model AND v.number = a.version
    JOIN models m ON m.name = a.model
    WHERE {ALIVE} AND"""

BY_NUMBER = f"SELECT {NAMED}, 1, '' FROM {VERSIONS_AND_MODELS} WHERE {ALIVE} AND"

BY_LABEL = f"SELECT {NAMED}, 2, v.label FROM {VERSIONS_AND_MODELS} WHERE {ALIVE} AND"

NEWEST = f"""
    SELECT {NAMED}, 3, '' FROM models m
    JOIN versions v ON v.model = m.name AND v.number = m.latest_version
    WHERE {ALIVE} AND"""

NEWEST_IN_STAGE = f"""
    SELECT {NAMED}, 4, v.stage FROM models m JOIN versions v ON v.model = m.name
    WHERE {ALIVE} AND v.number = (
        SELECT max(s.number) FROM versions s
        WHERE s.model = m.name AND s.stage = v.stage AND s.deleted_at_us IS NULL
    ) AND"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to name versions: how to ask for one, and how to tell answers apart."""

    select: str
    """Selects what a reference names, the place in `WAYS`, and the column that names a version."""
    one: str
    """The condition that picks one version, with `{0}` and `{1}` for its parameters."""
    values: Callable[[Reference], tuple[Value, ...]]
    """The parameters."""
    key: Callable[[Row], tuple[Value, ...]] = lambda row: (row[0], row[6])
    """The parameters that a row answers."""

    def asked(self, references: Sequence[Reference], values: list[Value]) -> str:
        """Return a statement that asks for all the references; adds its parameters to `values`."""
        conditions: list[str] = []
        for reference in references:
            first = len(values) + 1
            values += self.values(reference)
            conditions.append(self.one.format(f"${first}", f"${first + 1}"))
        return f"{self.select} ({' OR '.join(conditions)})"


WAYS: dict[type, Way] = {
    ByAlias: Way(
        BY_ALIAS,
        "(a.model = {0} AND a.alias = {1})",
        lambda reference: (reference.model, reference.alias),  # type: ignore[union-attr]
    ),
    ByNumber: Way(
        BY_NUMBER,
        "(v.model = {0} AND v.number = {1})",
        lambda reference: (reference.model, reference.number),  # type: ignore[union-attr]
        lambda row: (row[0], row[1]),
    ),
    ByLabel: Way(
        BY_LABEL,
        "(v.model = {0} AND v.label = {1})",
        lambda reference: (reference.model, reference.label),  # type: ignore[union-attr]
    ),
    Newest: Way(
        NEWEST,
        "m.name = {0}",
        lambda reference: (reference.model,),
        lambda row: (row[0],),
    ),
    NewestInStage: Way(
        NEWEST_IN_STAGE,
        "(v.model = {0} AND v.stage = {1})",
        lambda reference: (reference.model, reference.stage.value),  # type: ignore[union-attr]
    ),
}
"""By the type of reference."""

KINDS: Final = tuple(WAYS)

ONE = {kind: f"{way.select} {way.one.format('$1', '$2')}" for kind, way in WAYS.items()}
"""Statements that resolve one reference."""

Key = tuple[type, tuple[Value, ...]]
"""What a reference asks for, and a row answers."""


def statement(references: Sequence[Reference]) -> tuple[str, list[Value]]:
    """Return the text and the parameters that ask for all the references at once."""
    values: list[Value] = []
    selects: list[str] = []
    same_kind = {kind: [each for each in references if type(each) is kind] for kind in KINDS}
    longest = max(len(group) for group in same_kind.values())
    for kind, group in same_kind.items():
        if group:
            selects.append(WAYS[kind].asked(padded(group, longest), values))
    return " UNION ALL ".join(selects), values


def key_of(reference: Reference) -> Key:
    """Return what a reference asks for."""
    kind = type(reference)
    return kind, WAYS[kind].values(reference)


def key_answered(row: Row) -> Key:
    """Return what a row answers."""
    kind = KINDS[row[5]]
    return kind, WAYS[kind].key(row)


def to_resolution(row: Row) -> Resolution:
    """Return what a row says that a reference names."""
    model, number, digest, source_uri, size_bytes, *_ = row
    return Resolution(
        model, number, None if digest is None else bytes(digest), source_uri, size_bytes
    )
