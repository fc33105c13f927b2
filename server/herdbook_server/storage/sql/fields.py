"""Where the fields of searches lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "real"]


@dataclass(frozen=True, slots=True)
class Column:
    """A field that is a column of the searched table."""

    name: str
    kind: Kind
    nullable: bool = False
    indexed: bool = True
    ordered: bool = False
    """Whether its index goes on with the table's own order."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """Fields with a key, such as `metrics.KEY`: a table with a row for each, indexed by value."""

    table: str
    owner: str
    """The column that holds the searched row's key."""
    kind: Literal["text", "real"]


@dataclass(frozen=True, slots=True)
class Members:
    """A field that is a set: rows of another table that refer to the searched row."""

    table: str
    value: str
    """The column that holds the members."""
    joined: tuple[tuple[str, str], ...]
    """Columns of that table, and those of the searched table that they equal."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table that can be searched."""

    table: str
    key: tuple[str, ...]
    """The columns that tell its rows apart; `Keyed` tables refer to the first."""
    order: tuple[tuple[str, bool], ...]
    """The order that makes any other total: fields, and whether they descend. Indexed so."""
    fields: Mapping[str, Column | Keyed | Members]
    size: str
    """About how many bytes a row takes in a page."""
    total: str
    """About how many rows there are."""
    alive: str
    """The condition that a row is not deleted."""
    order_follows: bool = False
    """Whether the whole order descends when its first field is asked for descending."""

    def column(self, name: str) -> Column | None:
        """Return the column of a field, if it is one."""
        place = self.fields[name]
        return place if isinstance(place, Column) else None


VERSIONS = Source(
    table="versions",
    key=("id",),
    order=(("model", False), ("number", True)),
    fields={
        "model": Column("model", "text", ordered=True),
        "number": Column("number", "integer"),
        "label": Column("label", "text", nullable=True),
        "description": Column("description", "text", indexed=False),
        "stage": Column("stage", "text", ordered=True),
        "author": Column("author", "text", ordered=True),
        "framework": Column("framework", "text", ordered=True),
        "format": Column("format", "text", ordered=True),
        "digest": Column("digest", "text", nullable=True),
        "source_uri": Column("source_uri", "text", indexed=False),
        "size_bytes": Column("size_bytes", "integer"),
        "file_count": Column("file_count", "integer"),
        "created_at": Column("created_at_us", "integer"),
        "updated_at": Column("updated_at_us", "integer"),
        "lineage.run_id": Column("run_id", "text", nullable=True),
        "lineage.code.commit": Column("code_commit", "text", nullable=True),
        "aliases": Members("aliases", "alias", (("model", "model"), ("version", "number"))),
        "metrics": Keyed("version_metrics", "version_id", "real"),
        "params": Keyed("version_params", "version_id", "text"),
        "tags": Keyed("version_tags", "version_id", "text"),
    },
    size="record_bytes",
    total="(SELECT last_version_id FROM registry)",
    alive=(
        "v.deleted_at_us IS NULL AND v.model NOT IN "
        "(SELECT d.name FROM models d WHERE d.deleted_at_us IS NOT NULL)"
    ),
)

MODELS = Source(
    table="models",
    key=("name",),
    order=(("name", False),),
    fields={
        "name": Column("name", "text"),
        "description": Column("description", "text", indexed=False),
        "author": Column("author", "text", ordered=True),
        "created_at": Column("created_at_us", "integer", ordered=True),
        "updated_at": Column("updated_at_us", "integer", ordered=True),
        "latest_version": Column("latest_version", "integer", ordered=True),
        "version_count": Column("version_count", "integer", ordered=True),
        "tags": Keyed("model_tags", "model", "text"),
    },
    size="0",
    total="(SELECT count(*) FROM models)",
    alive="v.deleted_at_us IS NULL",
)

EVENTS = Source(
    table="events",
    key=("revision", "position"),
    order=(("revision", False), ("position", False)),
    fields={
        "revision": Column("revision", "integer"),
        "position": Column("position", "integer", indexed=False),
        "kind": Column("kind", "text", ordered=True),
        "model": Column("model", "text", ordered=True),
        "version": Column("version", "integer", indexed=False),
        "alias": Column("alias", "text", ordered=True),
        "actor": Column("actor", "text", ordered=True),
        "time": Column("time_us", "integer"),
        "reason": Column("reason", "text", indexed=False),
    },
    size="0",
    total="(SELECT revision FROM registry)",
    alive="1 = 1",
    order_follows=True,
)
