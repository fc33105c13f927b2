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
from herdbook_server.storage.sql.connection import Row, Value

NAMED: Final = "v.model, v.number, v.manifest_digest, v.source_uri, v.size_bytes"

ALIVE: Final = "v.deleted_at_us IS NULL AND m.deleted_at_us IS NULL"

VERSIONS_AND_MODELS: Final = "versions v JOIN models m ON m.name = v.model"

BY_ALIAS = f"""
    SELECT {NAMED}, a.alias FROM aliases a
    JOIN versions v ON v.model = a.model AND v.number = a.version
    JOIN models m ON m.name = a.model
    WHERE {ALIVE} AND"""

BY_NUMBER = f"SELECT {NAMED}, v.number FROM {VERSIONS_AND_MODELS} WHERE {ALIVE} AND"

BY_LABEL = f"SELECT {NAMED}, v.label FROM {VERSIONS_AND_MODELS} WHERE {ALIVE} AND"

NEWEST = f"""
    SELECT {NAMED}, v.number FROM models m
    JOIN versions v ON v.model = m.name AND v.number = m.latest_version
    WHERE {ALIVE} AND"""

NEWEST_IN_STAGE = f"""
    SELECT {NAMED}, v.stage FROM models m JOIN versions v ON v.model = m.name
    WHERE {ALIVE} AND v.number = (
        SELECT max(s.number) FROM versions s
        WHERE s.model = m.name AND s.stage = v.stage AND s.deleted_at_us IS NULL
    ) AND"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to name versions: how to ask for one, and how to tell answers apart."""

    select: str
    one: str
    """The condition that picks one version, with `{0}` and `{1}` for its parameters."""
    values: Callable[[Reference], tuple[Value, ...]]
    """The parameters."""
    key: Callable[[Row], tuple[Value, ...]]
    """The parameters that a row answers."""

    def statement(self, references: Sequence[Reference]) -> tuple[str, list[Value]]:
        """Return the text and the parameters that ask for all the references at once."""
        values: list[Value] = []
        conditions: list[str] = []
        for reference in references:
            first = len(values) + 1
            values += self.values(reference)
            conditions.append(self.one.format(f"${first}", f"${first + 1}"))
        return f"{self.select} ({' OR '.join(conditions)})", values


def model_and_last(row: Row) -> tuple[Value, ...]:
    """Return the model, and the column that tells its versions apart."""
    return row[0], row[5]


WAYS: dict[type, Way] = {
    ByAlias: Way(
        BY_ALIAS,
        "(a.model = {0} AND a.alias = {1})",
        lambda reference: (reference.model, reference.alias),  # type: ignore[union-attr]
        model_and_last,
    ),
    ByNumber: Way(
        BY_NUMBER,
        "(v.model = {0} AND v.number = {1})",
        lambda reference: (reference.model, reference.number),  # type: ignore[union-attr]
        model_and_last,
    ),
    ByLabel: Way(
        BY_LABEL,
        "(v.model = {0} AND v.label = {1})",
        lambda reference: (reference.model, reference.label),  # type: ignore[union-attr]
        model_and_last,
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
        model_and_last,
    ),
}
"""By the type of reference."""

ONE = {kind: f"{way.select} {way.one.format('$1', '$2')}" for kind, way in WAYS.items()}
"""Statements that resolve one reference."""


def to_resolution(row: Row) -> Resolution:
    """Return what a row says that a reference names."""
    model, number, digest, source_uri, size_bytes, _ = row
    return Resolution(
        model, number, None if digest is None else bytes(digest), source_uri, size_bytes
    )
