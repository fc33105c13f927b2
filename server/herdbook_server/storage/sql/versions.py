"""Rows of versions, with their params, metrics and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from herdbook_server.errors import ChunksMissing, LabelExists, Resource, UnmetCondition
from herdbook_server.ports.queries import Found, Query
from herdbook_server.ports.references import Reference
from herdbook_server.ports.values import Resolution, Stage, Version
from herdbook_server.storage.sql import texts
from herdbook_server.storage.sql.connection import (
    Connection,
    Dangling,
    Duplicate,
    Row,
    padded,
    pages,
    places,
)
from herdbook_server.storage.sql.fields import VERSIONS
from herdbook_server.storage.sql.resolving import (
    ONE,
    WAYS,
    Key,
    key_answered,
    key_of,
    statement,
    to_resolution,
)
from herdbook_server.storage.sql.search import Hit, Search
from herdbook_server.storage.sql.version_rows import (
    READ,
    STORED,
    documents_of,
    record_bytes,
    to_row,
    to_version,
)

GET = f"SELECT {READ}, packages FROM versions WHERE model = $1 AND number = $2"

GET_BY_LABEL = f"SELECT {READ}, packages FROM versions WHERE model = $1 AND label = $2"

ARCHIVE_OTHERS = """
    UPDATE versions SET stage = $4, updated_at_us = $5, revision = $6
    WHERE model = $1 AND stage = $2 AND number <> $3 AND deleted_at_us IS NULL
    RETURNING number"""

ALIASES_OF_MANY = """
    SELECT v.id, a.alias FROM versions v
    JOIN aliases a ON a.model = v.model AND a.version = v.number
    WHERE v.id IN ({places}) ORDER BY a.alias"""

ALIASES = """
    SELECT alias FROM aliases WHERE model = $1 AND version = $2 ORDER BY alias"""

NEXT_ID = """
    UPDATE registry SET last_version_id = last_version_id + 1 WHERE id = 1
    RETURNING last_version_id"""

INSERT = f"INSERT INTO versions ({', '.join(STORED)}) VALUES ({places(len(STORED))})"

INSERT_METRIC = "INSERT INTO version_metrics (version_id, key, value) VALUES ($1, $2, $3)"
INSERT_PARAM = "INSERT INTO version_params (version_id, key, head, rest) VALUES ($1, $2, $3, $4)"
INSERT_TAG = "INSERT INTO version_tags (version_id, key, head, rest) VALUES ($1, $2, $3, $4)"
DELETE_TAGS = "DELETE FROM version_tags WHERE version_id = $1"

SAVE = """
    UPDATE versions SET label = $3, description = $4, tags = $5, stage = $6, updated_at_us = $7,
        deleted_at_us = $8, purged_at_us = $9, revision = $10, record_bytes = $11
    WHERE model = $1 AND number = $2
    RETURNING id"""

DROP_MANIFEST = "UPDATE versions SET manifest_digest = NULL WHERE id = $1"

EXPIRED = "deleted_at_us < $1 AND manifest_digest IS NOT NULL"

EXPIRED_WITH_MODEL = f"""
    model IN (SELECT name FROM models WHERE deleted_at_us < $1)
    AND manifest_digest IS NOT NULL AND NOT COALESCE({EXPIRED}, FALSE)"""

RESOLVED_AT_ONCE = 100
"""How many references go into one statement."""

PAGE_BYTES = 8 * 1024 * 1024
"""Where a page of a search ends early: descriptions, params, tags … of all its versions."""


class VersionRows:
    """Versions, deleted ones included unless said otherwise."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, model: str, number: int) -> Version | None:
        """See `ports.records.Versions`."""
        return await self._read(await self._connection.fetch_one(GET, model, number))

    async def get_by_label(self, model: str, label: str) -> Version | None:
        """See `ports.records.Versions`."""
        return await self._read(await self._connection.fetch_one(GET_BY_LABEL, model, label))

    async def resolve(self, reference: Reference) -> Resolution | None:
        """See `ports.records.Versions`."""
        kind = type(reference)
        row = await self._connection.fetch_one(ONE[kind], *WAYS[kind].values(reference))
        return None if row is None else to_resolution(row)

    async def resolve_many(self, references: Sequence[Reference]) -> Sequence[Resolution | None]:
        """See `ports.records.Versions`."""
        answers: dict[Key, Resolution] = {}
        for page in pages(list(dict.fromkeys(references)), RESOLVED_AT_ONCE):
            sql, values = statement(page)
            for row in await self._connection.fetch(sql, *values):
                answers[key_answered(row)] = to_resolution(row)
        return [answers.get(key_of(reference)) for reference in references]

    async def insert(self, version: Version) -> None:
        """See `ports.records.Versions`.

        Raises:
            LabelExists: Another version of the model has the label.
            ChunksMissing: The manifest was deleted as unused since it was stored.
        """
        row = await self._connection.fetch_one(NEXT_ID)
        if row is None:
            raise LookupError("the registry has no counters")
        try:
            await self._connection.execute(INSERT, *to_row(row[0], version))
        except Duplicate as error:
            raise taken(version, error) from error
        except Dangling as error:
            raise _manifest_removed(version) from error
        await self._insert_values(row[0], version)

    async def save(self, version: Version) -> None:
        """See `ports.records.Versions`."""
        about = version.about
        columns = documents_of(about)
        try:
            row = await self._connection.fetch_one(
                SAVE,
                version.model,
                version.number,
                about.label,
                about.description,
                columns[0],
                version.stage.value,
                version.updated_at_us,
                version.deleted_at_us,
                version.purged_at_us,
                version.revision,
                record_bytes(about, columns),
            )
        except Duplicate as error:
            raise taken(version, error) from error
        if row is not None:
            await self._connection.execute(DELETE_TAGS, row[0])
            await self._insert_texts(INSERT_TAG, row[0], about.tags)
            if version.purged_at_us is not None:
                await self._connection.execute(DROP_MANIFEST, row[0])

    async def archive_others(
        self, version: Version, stage: Stage, *, time_us: int, revision: int
    ) -> Sequence[int]:
        """See `ports.records.Versions`."""
        rows = await self._connection.fetch(
            ARCHIVE_OTHERS,
            version.model,
            stage.value,
            version.number,
            Stage.ARCHIVED.value,
            time_us,
            revision,
        )
        return sorted(row[0] for row in rows)

    async def expired(self, before_us: int, *, limit: int) -> Sequence[tuple[str, int]]:
        """See `ports.records.Versions`."""
        # One after the other, so that each uses its index.
        for condition in (EXPIRED, EXPIRED_WITH_MODEL):
            text = f"SELECT model, number FROM versions WHERE {condition} LIMIT $2"
            rows = await self._connection.fetch(text, before_us, limit)
            if rows:
                return [(row[0], row[1]) for row in rows]
        return []

    async def expired_count(self, before_us: int) -> int:
        """See `ports.records.Versions`."""
        total = 0
        for condition in (EXPIRED, EXPIRED_WITH_MODEL):
            text = f"SELECT count(*) FROM versions WHERE {condition}"
            ((count,),) = await self._connection.fetch(text, before_us)
            total += count
        return total

    async def search(self, query: Query) -> Found[Version]:
        """See `ports.records.Versions`.

        A page ends early where it would take more than a few megabytes. The packages of an
        environment are left out.
        """
        search = Search(self._connection, VERSIONS, query)
        hits, following = await search.run()
        kept = within_budget(hits)
        if len(kept) < len(hits):
            following = kept[-1].position
        ids = [hit.key[0] for hit in kept]
        rows = {row[-1]: row for row in await search.rows(READ + ", id", ids)}
        aliases = await self._aliases(ids)
        versions = (
            to_version(rows[id_][:-1], packages=None, aliases=aliases[id_])
            for id_ in ids
            if id_ in rows
        )
        return Found(tuple(versions), following)

    async def _read(self, row: Row | None) -> Version | None:
        if row is None:
            return None
        aliases = await self._connection.fetch(ALIASES, row[0], row[1])
        names = tuple(alias for (alias,) in aliases)
        return to_version(row[:-1], packages=row[-1], aliases=names)

    async def _aliases(self, ids: Sequence[int]) -> Mapping[int, tuple[str, ...]]:
        """Return the sorted aliases of versions, by id."""
        aliases: dict[int, tuple[str, ...]] = dict.fromkeys(ids, ())
        for page in pages(ids):
            wanted = padded(page)
            text = ALIASES_OF_MANY.format(places=places(len(wanted)))
            for version_id, alias in await self._connection.fetch(text, *wanted):
                aliases[version_id] += (alias,)
        return aliases

    async def _insert_values(self, version_id: int, version: Version) -> None:
        about = version.about
        metrics = [(version_id, key, float(value)) for key, value in about.metrics.items()]
        await self._connection.execute_many(INSERT_METRIC, metrics)
        await self._insert_texts(INSERT_PARAM, version_id, about.params)
        await self._insert_texts(INSERT_TAG, version_id, about.tags)

    async def _insert_texts(self, sql: str, version_id: int, items: Mapping[str, str]) -> None:
        rows = [(version_id, key, *texts.split(value)) for key, value in items.items()]
        await self._connection.execute_many(sql, rows)


def _manifest_removed(version: Version) -> ChunksMissing:
    digest = (version.contents.digest or b"").hex()
    return ChunksMissing(
        "The manifest was removed meanwhile: upload what is missing, and register again.",
        conditions=[UnmetCondition("manifest", digest, "was removed as unused")],
    )


def taken(version: Version, error: Duplicate) -> Exception:
    """Return what a unique index of versions refused in the domain's words."""
    if error.index != "versions_label":
        return error
    label = version.about.label
    return LabelExists(
        f"Another version of {version.model} has the label {label}.",
        resource=Resource("version", f"{version.model}:{label}"),
    )


def within_budget(hits: Sequence[Hit]) -> Sequence[Hit]:
    """Return the first hits, at least one, whose versions take no more than a page may."""
    left = PAGE_BYTES
    for index, hit in enumerate(hits):
        left -= hit.size_bytes
        if left < 0 and index:
            return hits[:index]
    return hits
