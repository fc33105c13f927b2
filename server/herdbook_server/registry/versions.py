"""Versions: register, resolve, find, describe, delete, restore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from herdbook_server.errors import (
    LabelImmutable,
    Resource,
    UnmetCondition,
    VersionInUse,
    VersionPurged,
)
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.queries import Query
from herdbook_server.ports.references import ByLabel, ByNumber
from herdbook_server.ports.values import Description, EventKind, Resolution, Version
from herdbook_server.registry import rules
from herdbook_server.registry.alias_moves import remove_alias
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.descriptions import check_total
from herdbook_server.registry.filters import VERSION_FIELDS, parse_filter, parse_order_by
from herdbook_server.registry.lookup import existing_model, existing_version, resolve
from herdbook_server.registry.pages import Listing, Page, page_limit
from herdbook_server.registry.references import parse_fixed_reference, parse_reference
from herdbook_server.registry.registering import AliasTarget, Registration, register
from herdbook_server.registry.resolving import Resolving
from herdbook_server.registry.sizes import listed_size_bytes, search_fitting
from herdbook_server.registry.tags import changed_tags, check_tag_changes
from herdbook_server.registry.usage import summary, uses_of_version
from herdbook_server.registry.writing import Write, check_revision, writing

__all__ = ["AliasTarget", "Registration", "VersionRegistry"]

DEFAULT_ORDER = "model, number desc"
DEFAULT_ORDER_IN_MODEL = "number desc"


class VersionRegistry:
    """The versions of the record. Every write is one transaction and one revision."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._resolving = Resolving(database)

    async def register(self, caller: Caller, registration: Registration) -> Version:
        """Makes the next version of a model, whole or not at all; a missing model is created.

        A retry with the same request id returns the version that the first call made.

        Raises:
            ChunksMissing: Chunks of the manifest are not stored for this model.
            ModelDeleted, LabelExists: The record forbids it.
            NameInvalid, LabelInvalid, AliasInvalid, PathInvalid, ManifestInvalid, FieldInvalid,
            RequestIdReused: The request is wrong.
        """
        return await register(self._database, self._clock, caller, registration)

    async def get(self, reference: str, *, show_deleted: bool = False) -> Version:
        """The version that a reference names; a deleted one by number or label, if asked for.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound: It names nothing.
            ReferenceInvalid: It cannot be parsed.
        """
        named = parse_reference(reference)
        async with self._database.read() as records:
            return await existing_version(records, named, show_deleted=show_deleted)

    async def resolve(self, reference: str) -> Resolution:
        """What a reference names now, in one query.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound: It names nothing.
            ReferenceInvalid: It cannot be parsed.
        """
        asked = parse_reference(reference)
        named = await self._resolving.resolve(asked)
        if named is not None:
            return named
        async with self._database.read() as records:
            return await resolve(records, asked)

    async def search(
        self,
        *,
        model: str | None = None,
        filter: str = "",  # the contract's word
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        show_deleted: bool = False,
    ) -> Page[Version]:
        """A page of the versions of one model, or of all, that match.

        Raises:
            FilterInvalid, OrderByInvalid, PageTokenInvalid, NameInvalid: The request is wrong.
            ModelNotFound: There is no such model, or it is deleted.
        """
        if model is not None:
            rules.check_name(model)
        default_order = DEFAULT_ORDER if model is None else DEFAULT_ORDER_IN_MODEL
        listing = Listing("versions", (model, filter, order_by, show_deleted))
        query = Query(
            where=parse_filter(filter, VERSION_FIELDS),
            order=parse_order_by(order_by or default_order, VERSION_FIELDS),
            limit=page_limit(page_size),
            after=listing.position(page_token),
            model=model,
            show_deleted=show_deleted,
        )
        async with self._database.read() as records:
            found = await search_fitting(records.versions.search, query, listed_size_bytes)
            if model is not None and not found.items:
                await existing_model(records, model, show_deleted=show_deleted)
        return listing.page(found)

    async def update(
        self,
        caller: Caller,
        reference: str,
        *,
        description: str | None = None,
        label: str | None = None,
        expected_revision: int | None = None,
        reason: str = "",
    ) -> Version:
        """Changes what is given. What is so already succeeds and notes nothing.

        Raises:
            ModelNotFound, VersionNotFound: There is no such version, or it is deleted.
            RevisionChanged: It does not have the expected revision.
            LabelImmutable, LabelExists: The label cannot be given.
            ReferenceInvalid, LabelInvalid, FieldInvalid: The request is wrong.
        """
        named = parse_fixed_reference(reference)
        _check_update(description, label, reason)
        rules.check_expected_revision(expected_revision)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            version = await existing_version(write.records, named)
            check_revision(version.revision, expected_revision, subject=f"Version {reference}")
            about = _updated(version, description=description, label=label)
            if about == version.about:
                return version
            check_total(about)
            return await save_version(
                write,
                replace(version, about=about),
                kind=EventKind.VERSION_UPDATED,
                to_value=(about.label or "") if about.label != version.about.label else "",
            )

    async def update_tags(
        self,
        caller: Caller,
        reference: str,
        *,
        set_tags: Mapping[str, str],
        delete_tags: Iterable[str],
        reason: str = "",
    ) -> Version:
        """Sets and deletes tags. What is so already succeeds and notes nothing.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound: There is no such version.
            ReferenceInvalid, FieldInvalid: The request is wrong.
        """
        named = parse_reference(reference)
        delete_tags = tuple(delete_tags)
        check_tag_changes(set_tags, delete_tags)
        rules.check_reason(reason)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            version = await existing_version(write.records, named)
            tags = changed_tags(version.about.tags, set_tags=set_tags, delete_tags=delete_tags)
            if tags == version.about.tags:
                return version
            about = replace(version.about, tags=tags)
            check_total(about)
            return await save_version(
                write, replace(version, about=about), kind=EventKind.VERSION_TAGGED
            )

    async def delete(
        self, caller: Caller, reference: str, *, force: bool = False, reason: str = ""
    ) -> Version:
        """Marks a version deleted; with force, deletes the aliases that point at it, too.

        Raises:
            ModelNotFound, VersionNotFound: There is no such version.
            VersionInUse: Aliases point at it or live replicas serve it, and it is not forced.
            ReferenceInvalid: It is not by number or label.
        """
        named = parse_fixed_reference(reference)
        rules.check_reason(reason)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            version = await _deleted_or_not(write, named)
            if version.deleted_at_us is not None:
                return version
            if not force:
                await _check_unused(write, version)
            return await delete_version(write, version)

    async def restore(self, caller: Caller, reference: str, *, reason: str = "") -> Version:
        """Undoes `delete`, but for aliases; a version that is not deleted stays as it is.

        Raises:
            ModelNotFound, VersionNotFound: There is no such version.
            VersionPurged: It was deleted so long ago that its files are gone.
            ReferenceInvalid: It is not by number or label.
        """
        named = parse_fixed_reference(reference)
        rules.check_reason(reason)
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            version = await _deleted_or_not(write, named)
            if version.deleted_at_us is None:
                return version
            _check_not_purged(version)
            restored = await save_version(
                write, replace(version, deleted_at_us=None), kind=EventKind.VERSION_RESTORED
            )
            await write.records.models.recount(version.model, change=1)
            return restored


def _check_update(description: str | None, label: str | None, reason: str) -> None:
    if description is not None:
        rules.check_description(description, field="version.description")
    if label:
        rules.check_label(label)
    rules.check_reason(reason)


def _updated(version: Version, *, description: str | None, label: str | None) -> Description:
    """The description after an update; an empty label asks for none."""
    about = version.about
    if description is not None:
        about = replace(about, description=description)
    if label is None or (label or None) == about.label:
        return about
    if about.label is not None:
        subject = str(ByNumber(version.model, version.number))
        raise LabelImmutable(
            f"Version {subject} is labelled {about.label}, and a label stays.",
            conditions=[UnmetCondition("version", subject, f"is labelled {about.label}")],
        )
    return replace(about, label=label)


async def _deleted_or_not(write: Write, reference: ByNumber | ByLabel) -> Version:
    await existing_model(write.records, reference.model)
    return await existing_version(write.records, reference, show_deleted=True)


def _check_not_purged(version: Version) -> None:
    if version.purged_at_us is not None:
        subject = str(ByNumber(version.model, version.number))
        raise VersionPurged(
            f"Version {subject} was deleted so long ago that its files are gone; push them anew.",
            conditions=[UnmetCondition("version", subject, "is purged")],
        )


async def _check_unused(write: Write, version: Version) -> None:
    uses = await uses_of_version(write.records, version.model, version.number, now_us=write.time_us)
    if uses:
        subject = str(ByNumber(version.model, version.number))
        raise VersionInUse(
            f"Version {subject} is in use: {summary(uses)}. Force deletes it all the same.",
            resource=Resource("version", subject),
            conditions=uses,
        )


async def delete_version(write: Write, version: Version) -> Version:
    """Mark a version deleted, and delete the aliases that point at it."""
    for alias in await write.records.aliases.of_version(version.model, version.number):
        await remove_alias(write, alias)
    deleted = await save_version(
        write,
        replace(version, deleted_at_us=write.time_us, aliases=()),
        kind=EventKind.VERSION_DELETED,
    )
    await write.records.models.recount(version.model, change=-1)
    return deleted


async def save_version(
    write: Write, version: Version, *, kind: EventKind, to_value: str = ""
) -> Version:
    """Save a version that this write changes, and note it."""
    saved = replace(version, updated_at_us=write.time_us, revision=write.revision)
    await write.records.versions.save(saved)
    write.note(kind, version.model, version=version.number, to_value=to_value)
    return saved
