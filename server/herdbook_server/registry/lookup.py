"""Finds what requests name, and says precisely what is missing."""

from __future__ import annotations

import difflib

from herdbook_server.errors import (
    AliasNotFound,
    ModelNotFound,
    NotFound,
    Resource,
    VersionNotFound,
)
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import (
    ByAlias,
    ByLabel,
    ByNumber,
    Newest,
    NewestInStage,
    Reference,
)
from herdbook_server.ports.values import Model, Resolution, Version

NAMES_COMPARED_MAX = 1000
"""Aliases among which an error looks for similar ones."""


async def existing_model(records: Records, name: str, *, show_deleted: bool = False) -> Model:
    """A model that is not deleted, unless that is no matter. Raises ModelNotFound."""
    model = await records.models.get(name)
    if model is None:
        raise ModelNotFound(f"There is no model {name}.", resource=Resource("model", name))
    if model.deleted_at_us is not None and not show_deleted:
        raise ModelNotFound(
            f"Model {name} is deleted; restore it to use it again.",
            resource=Resource("model", name),
        )
    return model


async def existing_version(
    records: Records, reference: Reference, *, show_deleted: bool = False
) -> Version:
    """The version that a reference names; a deleted one only by number or label, and if asked for.

    Raises ModelNotFound, VersionNotFound, AliasNotFound.
    """
    version: Version | None
    if show_deleted and isinstance(reference, ByNumber | ByLabel):
        version = await _deleted_or_not(records, reference)
    else:
        named = await resolve(records, reference)
        version = await records.versions.get(named.model, named.version)
    if version is None:
        raise await _missing(records, reference)
    return version


async def resolve(records: Records, reference: Reference) -> Resolution:
    """What a reference names, in one query.

    Raises ModelNotFound, VersionNotFound, AliasNotFound.
    """
    named = await records.versions.resolve(reference)
    if named is None:
        raise await _missing(records, reference)
    return named


def alias_resource(model: str, alias: str) -> Resource:
    """An alias, as errors name it."""
    return Resource("alias", str(ByAlias(model, alias)))


async def missing_alias(records: Records, model: str, alias: str) -> AliasNotFound:
    """An error that names similar aliases of the model."""
    aliases = await records.aliases.of_model(model, limit=NAMES_COMPARED_MAX)
    similar = difflib.get_close_matches(alias, [other.alias for other in aliases])
    hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
    return AliasNotFound(
        f"Model {model} has no alias {alias}.{hint}", resource=alias_resource(model, alias)
    )


async def _deleted_or_not(records: Records, reference: ByNumber | ByLabel) -> Version | None:
    if isinstance(reference, ByNumber):
        return await records.versions.get(reference.model, reference.number)
    return await records.versions.get_by_label(reference.model, reference.label)


async def _missing(records: Records, reference: Reference) -> NotFound:
    """Why a reference names nothing; a second look that only refusals pay for."""
    model = await existing_model(records, reference.model)
    if isinstance(reference, ByAlias):
        alias = await records.aliases.get(reference.model, reference.alias)
        if alias is None:
            return await missing_alias(records, reference.model, reference.alias)
    sentence = await _missing_version(records, model, reference)
    return VersionNotFound(sentence, resource=Resource("version", str(reference)))


async def _missing_version(records: Records, model: Model, reference: Reference) -> str:
    match reference:
        case ByNumber() | ByLabel():
            version = await _deleted_or_not(records, reference)
            if version is not None and version.deleted_at_us is not None:
                return f"Version {reference} is deleted."
            return f"There is no version {reference}. {_newest(model)}"
        case NewestInStage(name, stage):
            return f"Model {name} has no version in stage {stage.value}."
        case Newest(name):
            return f"Model {name} has no versions."
        case ByAlias():
            return f"The version that {reference} points at is deleted."


def _newest(model: Model) -> str:
    if not model.latest_version:
        return f"Model {model.name} has no versions."
    return f"The newest of model {model.name} is {model.latest_version}."
