"""Models: create, describe, find, delete, restore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from herdbook_server.errors import ModelExists, ModelInUse, Resource
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.queries import Query
from herdbook_server.ports.values import EventKind, Model
from herdbook_server.registry import rules
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.filters import MODEL_FIELDS, parse_filter, parse_order_by
from herdbook_server.registry.lookup import existing_model
from herdbook_server.registry.pages import Listing, Page, page_limit
from herdbook_server.registry.requests import Request, retriable
from herdbook_server.registry.sizes import model_size_bytes, search_fitting
from herdbook_server.registry.tags import changed_tags, check_tag_changes
from herdbook_server.registry.usage import summary, uses_of_model
from herdbook_server.registry.writing import Write, check_revision, writing

DEFAULT_ORDER = "name"


class ModelRegistry:
    """The models of the record. Every write is one transaction and one revision."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        caller: Caller,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: str = "",
        request_id: str | None = None,
    ) -> Model:
        """Creates an empty model. A retry with the same request id returns it again.

        Raises:
            ModelExists: The name is taken, perhaps by a deleted model.
            NameInvalid, FieldInvalid, RequestIdReused: The request is wrong.
        """
        tags = dict(tags or {})
        rules.check_name(name, field="model.name")
        rules.check_description(description, field="model.description")
        rules.check_tags(tags, field="model.tags")
        rules.check_reason(reason)
        request = retriable(
            caller,
            "CreateModel",
            request_id=request_id,
            asked=[name, description, tags, reason],
        )
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            if await request.first_answer(write.records) is not None:
                return await existing_model(write.records, name, show_deleted=True)
            return await _create(write, request, name, description=description, tags=tags)

    async def get(self, name: str, *, show_deleted: bool = False) -> Model:
        """One model. Raises ModelNotFound, NameInvalid."""
        rules.check_name(name)
        async with self._database.read() as records:
            return await existing_model(records, name, show_deleted=show_deleted)

    async def search(
        self,
        *,
        filter: str = "",  # the contract's word
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        show_deleted: bool = False,
    ) -> Page[Model]:
        """A page of the models that match.

        Raises:
            FilterInvalid, OrderByInvalid, PageTokenInvalid: The request is wrong.
        """
        listing = Listing("models", (filter, order_by, show_deleted))
        query = Query(
            where=parse_filter(filter, MODEL_FIELDS),
            order=parse_order_by(order_by or DEFAULT_ORDER, MODEL_FIELDS),
            limit=page_limit(page_size),
            after=listing.position(page_token),
            show_deleted=show_deleted,
        )
        async with self._database.read() as records:
            found = await search_fitting(records.models.search, query, model_size_bytes)
        return listing.page(found)

    async def update(
        self,
        caller: Caller,
        name: str,
        *,
        description: str | None = None,
        expected_revision: int | None = None,
        reason: str = "",
    ) -> Model:
        """Changes the description if one is given. What is so already succeeds and notes nothing.

        Raises:
            ModelNotFound: There is no such model, or it is deleted.
            RevisionChanged: It does not have the expected revision.
            NameInvalid, FieldInvalid: The request is wrong.
        """
        rules.check_name(name, field="model.name")
        if description is not None:
            rules.check_description(description, field="model.description")
        rules.check_expected_revision(expected_revision)
        rules.check_reason(reason)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            model = await existing_model(write.records, name)
            check_revision(model.revision, expected_revision, subject=f"Model {name}")
            if description is None or description == model.description:
                return model
            return await _save(
                write, replace(model, description=description), kind=EventKind.MODEL_UPDATED
            )

    async def update_tags(
        self,
        caller: Caller,
        name: str,
        *,
        set_tags: Mapping[str, str],
        delete_tags: Iterable[str],
        reason: str = "",
    ) -> Model:
        """Sets and deletes tags. What is so already succeeds and notes nothing.

        Raises:
            ModelNotFound: There is no such model, or it is deleted.
            FieldInvalid: A tag is out of bounds, or there would be too many.
        """
        delete_tags = tuple(delete_tags)
        rules.check_name(name)
        check_tag_changes(set_tags, delete_tags)
        rules.check_reason(reason)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            model = await existing_model(write.records, name)
            tags = changed_tags(model.tags, set_tags=set_tags, delete_tags=delete_tags)
            if tags == model.tags:
                return model
            return await _save(write, replace(model, tags=tags), kind=EventKind.MODEL_TAGGED)

    async def delete(
        self, caller: Caller, name: str, *, force: bool = False, reason: str = ""
    ) -> Model:
        """Marks a model deleted; its versions and aliases stay for a restore.

        Raises:
            ModelNotFound: There is no such model.
            ModelInUse: Aliases or live replicas use its versions, and it is not forced.
        """
        rules.check_name(name)
        rules.check_reason(reason)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            model = await existing_model(write.records, name, show_deleted=True)
            if model.deleted_at_us is not None:
                return model
            if not force:
                await _check_unused(write, name)
            deleted = replace(model, deleted_at_us=write.time_us)
            return await _save(write, deleted, kind=EventKind.MODEL_DELETED)

    async def restore(self, caller: Caller, name: str, *, reason: str = "") -> Model:
        """Undoes `delete`; a model that is not deleted stays as it is. Raises ModelNotFound."""
        rules.check_name(name)
        rules.check_reason(reason)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            model = await existing_model(write.records, name, show_deleted=True)
            if model.deleted_at_us is None:
                return model
            restored = replace(model, deleted_at_us=None)
            return await _save(write, restored, kind=EventKind.MODEL_RESTORED)


async def add_model(
    write: Write, name: str, *, description: str = "", tags: Mapping[str, str] | None = None
) -> Model:
    """Adds a model, by whoever writes. Raises ModelExists."""
    model = Model(
        name=name,
        description=description,
        tags=dict(tags or {}),
        author=write.change.actor,
        created_at_us=write.time_us,
        updated_at_us=write.time_us,
        deleted_at_us=None,
        revision=write.revision,
    )
    await write.records.models.insert(model)
    write.note(EventKind.MODEL_CREATED, name)
    return model


async def _create(
    write: Write, request: Request, name: str, *, description: str, tags: Mapping[str, str]
) -> Model:
    present = await write.records.models.get(name)
    if present is not None:
        deleted = present.deleted_at_us is not None
        raise ModelExists(
            f"Model {name} exists" + (" and is deleted: restore it." if deleted else "."),
            resource=Resource("model", name),
        )
    model = await add_model(write, name, description=description, tags=tags)
    await request.remember(write.records, {"model": name}, time_us=write.time_us)
    return model


async def _save(write: Write, model: Model, *, kind: EventKind) -> Model:
    saved = replace(model, updated_at_us=write.time_us, revision=write.revision)
    await write.records.models.save(saved)
    write.note(kind, model.name)
    return saved


async def _check_unused(write: Write, name: str) -> None:
    uses = await uses_of_model(write.records, name, now_us=write.time_us)
    if uses:
        raise ModelInUse(
            f"Model {name} is in use: {summary(uses)}. Force deletes it all the same.",
            resource=Resource("model", name),
            conditions=uses,
        )
