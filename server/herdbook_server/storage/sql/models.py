"""Rows of models and of their tags."""

from __future__ import annotations

from herdbook_server.errors import ModelExists, Resource
from herdbook_server.ports.queries import Found, Query
from herdbook_server.ports.values import Model
from herdbook_server.storage.sql import documents, texts
from herdbook_server.storage.sql.connection import Connection, Duplicate, Row
from herdbook_server.storage.sql.fields import MODELS
from herdbook_server.storage.sql.search import Search

COLUMNS = """
    name, description, tags, author, created_at_us, updated_at_us, deleted_at_us, revision,
    latest_version, version_count"""

GET = f"SELECT {COLUMNS} FROM models WHERE name = $1"

INSERT = f"""
    INSERT INTO models ({COLUMNS}, last_number)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)"""

SAVE = """
    UPDATE models SET description = $2, tags = $3, updated_at_us = $4, deleted_at_us = $5,
        revision = $6
    WHERE name = $1"""

DELETE_TAGS = "DELETE FROM model_tags WHERE model = $1"
INSERT_TAG = "INSERT INTO model_tags (model, key, head, rest) VALUES ($1, $2, $3, $4)"

NEXT_NUMBER = """
    UPDATE models SET last_number = last_number + 1 WHERE name = $1 RETURNING last_number"""

RECOUNT = """
    UPDATE models SET version_count = version_count + $2, latest_version = COALESCE((
        SELECT v.number FROM versions v WHERE v.model = $1 AND v.deleted_at_us IS NULL
        ORDER BY v.number DESC LIMIT 1), 0)
    WHERE name = $1"""


class ModelRows:
    """Models, deleted ones included."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, name: str) -> Model | None:
        """See `ports.records.Models`."""
        row = await self._connection.fetch_one(GET, name)
        return None if row is None else to_model(row)

    async def insert(self, model: Model) -> None:
        """See `ports.records.Models`."""
        try:
            await self._connection.execute(
                INSERT,
                model.name,
                model.description,
                documents.dump(dict(model.tags)),
                model.author,
                model.created_at_us,
                model.updated_at_us,
                model.deleted_at_us,
                model.revision,
                model.latest_version,
                model.version_count,
            )
        except Duplicate as error:
            raise ModelExists(
                f"Model {model.name} exists.", resource=Resource("model", model.name)
            ) from error
        await self._insert_tags(model)

    async def save(self, model: Model) -> None:
        """See `ports.records.Models`."""
        await self._connection.execute(
            SAVE,
            model.name,
            model.description,
            documents.dump(dict(model.tags)),
            model.updated_at_us,
            model.deleted_at_us,
            model.revision,
        )
        await self._connection.execute(DELETE_TAGS, model.name)
        await self._insert_tags(model)

    async def next_number(self, name: str) -> int:
        """See `ports.records.Models`.

        Raises:
            LookupError: There is no such model.
        """
        row = await self._connection.fetch_one(NEXT_NUMBER, name)
        if row is None:
            raise LookupError(f"no model {name}")
        number: int = row[0]
        return number

    async def recount(self, name: str, *, change: int) -> None:
        """See `ports.records.Models`."""
        await self._connection.execute(RECOUNT, name, change)

    async def search(self, query: Query) -> Found[Model]:
        """See `ports.records.Models`."""
        search = Search(self._connection, MODELS, query)
        hits, following = await search.run()
        rows = await search.rows(COLUMNS, [hit.key[0] for hit in hits])
        found = {row[0]: to_model(row) for row in rows}
        return Found(tuple(found[hit.key[0]] for hit in hits if hit.key[0] in found), following)

    async def _insert_tags(self, model: Model) -> None:
        rows = [(model.name, key, *texts.split(value)) for key, value in model.tags.items()]
        await self._connection.execute_many(INSERT_TAG, rows)


def to_model(row: Row) -> Model:
    """Return the model that a row holds."""
    name, description, tags, *rest = row
    return Model(name, description, documents.load(tags), *rest)
