"""How a version comes to be: bytes first, then one transaction makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from herdbook_server.artifacts.manifests import check_manifest, manifest_digest
from herdbook_server.errors import (
    ChunksMissing,
    FieldInvalid,
    ModelDeleted,
    Resource,
    UnmetCondition,
)
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.records import Records
from herdbook_server.ports.values import (
    JSON,
    Contents,
    Description,
    EventKind,
    File,
    Stage,
    Version,
)
from herdbook_server.registry import rules
from herdbook_server.registry.alias_moves import point_alias
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.descriptions import check_about
from herdbook_server.registry.models import add_model
from herdbook_server.registry.requests import Request, retriable
from herdbook_server.registry.writing import Write, writing

CHUNKS_LISTED_MAX = 100
"""Missing chunks that one refusal lists; `missing_count` tells of all."""

CHECKED_AT_ONCE_MAX = 1000
"""Files and chunks that are checked in about a millisecond."""


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """An alias that is to point at a version to be."""

    alias: str
    expected_version: int | None = None
    """What it must point at before; 0: it must not exist; None: no matter."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A version to be."""

    model: str
    about: Description
    """Without an author, the caller is it."""
    files: tuple[File, ...] | None = None
    """Its manifest; exactly one of files and source_uri is given."""
    source_uri: str | None = None
    aliases: tuple[AliasTarget, ...] = ()
    """To point at the new version in the same transaction."""
    reason: str = ""
    request_id: str | None = None


async def register(
    database: Database, clock: Clock, caller: Caller, registration: Registration
) -> Version:
    """Makes the next version of a model; `VersionRegistry.register` says how and what it raises."""
    _check(registration)
    contents = await _checked_contents(registration)
    request = _request(caller, registration, contents)
    async with database.read() as records:
        answer = await request.first_answer(records)
        if answer is not None:
            return await _answered(records, answer)
    if registration.files is not None:
        await _keep_manifest(database, clock, registration, contents)
    async with writing(database, clock, caller=caller, reason=registration.reason) as write:
        answer = await request.first_answer(write.records)
        if answer is not None:
            return await _answered(write.records, answer)
        return await _register(write, request, registration, contents)


def _check(registration: Registration) -> None:
    rules.check_name(registration.model, field="version.model")
    check_about(registration.about)
    rules.check_count(registration.aliases, field="aliases", limit=rules.ALIASES_AT_ONCE_MAX)
    for index, target in enumerate(registration.aliases):
        rules.check_alias(target.alias, field=f"aliases[{index}].alias")
        field = f"aliases[{index}].expected_version"
        rules.check_expected_version(target.expected_version, field=field)
    rules.check_reason(registration.reason)
    rules.check_request_id(registration.request_id)
    if (registration.files is None) == (registration.source_uri is None):
        raise rules.refuse(
            FieldInvalid, "manifest", "Exactly one of manifest and source_uri is given."
        )
    if registration.source_uri is not None:
        rules.check_source_uri(registration.source_uri)


async def _checked_contents(registration: Registration) -> Contents:
    """In a thread if it takes a while, in which others are to be answered."""
    files = registration.files or ()
    if sum(1 + len(file.chunks) for file in files) < CHECKED_AT_ONCE_MAX:
        return _contents(registration)
    return await asyncio.to_thread(_contents, registration)


def _contents(registration: Registration) -> Contents:
    files = registration.files
    if files is None:
        return Contents(
            digest=None, source_uri=registration.source_uri or "", size_bytes=0, file_count=0
        )
    check_manifest(files)
    return Contents(
        digest=manifest_digest(files),
        source_uri="",
        size_bytes=sum(file.size_bytes for file in files),
        file_count=len(files),
    )


def _request(caller: Caller, registration: Registration, contents: Contents) -> Request:
    """The manifest's digest stands for its files."""
    about = registration.about
    asked = [
        registration.model,
        about.label,
        about.description,
        dict(about.tags),
        about.author,
        dict(about.params),
        dict(about.metrics),
        about.signature,
        about.input_example,
        about.has_input_example,
        about.framework,
        about.format,
        about.lineage,
        about.environment,
        contents.digest.hex() if contents.digest else None,
        contents.source_uri,
        [astuple(target) for target in registration.aliases],
        registration.reason,
    ]
    return retriable(caller, "RegisterVersion", request_id=registration.request_id, asked=asked)


async def _keep_manifest(
    database: Database, clock: Clock, registration: Registration, contents: Contents
) -> None:
    """Stores the manifest if all of its chunks are there, before any lock is taken.

    The chunks are touched even if some are missing: their pusher is about to call again.
    """
    files, digest = registration.files or (), contents.digest or b""
    chunks = tuple({chunk.digest: chunk for file in files for chunk in file.chunks}.values())
    now_us = clock.now_us()
    async with database.bookkeep(durable=False) as records:
        missing = await records.chunks.absent(registration.model, chunks, time_us=now_us)
        if not missing:
            await records.manifests.insert(digest, files, time_us=now_us)
    if missing:
        raise _chunks_missing(registration.model, missing)


def _chunks_missing(model: str, missing: Sequence[bytes]) -> ChunksMissing:
    return ChunksMissing(
        f"{len(missing)} chunks of the manifest are not stored for model {model}: "
        "upload them and register again.",
        conditions=[
            UnmetCondition("chunk", digest.hex(), f"is not stored for model {model}")
            for digest in missing[:CHUNKS_LISTED_MAX]
        ],
        metadata={"missing_count": str(len(missing))},
    )


async def _answered(records: Records, answer: JSON) -> Version:
    version = await records.versions.get(answer["model"], answer["number"])
    if version is None:
        raise LookupError(f"The record lacks version {answer['model']}:{answer['number']}.")
    return version


async def _register(
    write: Write, request: Request, registration: Registration, contents: Contents
) -> Version:
    await _ensure_model(write, registration.model)
    number = await write.records.models.next_number(registration.model)
    await write.records.versions.insert(_version(write, registration, contents, number=number))
    write.note(EventKind.VERSION_REGISTERED, registration.model, version=number)
    await write.records.models.recount(registration.model, change=1)
    for target in registration.aliases:
        await point_alias(
            write,
            registration.model,
            target.alias,
            version=number,
            expected_version=target.expected_version,
        )
    answer = {"model": registration.model, "number": number}
    await request.remember(write.records, answer, time_us=write.time_us)
    return await _answered(write.records, answer)


async def _ensure_model(write: Write, name: str) -> None:
    model = await write.records.models.get(name)
    if model is None:
        await add_model(write, name)
    elif model.deleted_at_us is not None:
        raise ModelDeleted(
            f"Model {name} is deleted: restore it to register versions.",
            resource=Resource("model", name),
            conditions=[UnmetCondition("model", name, "is deleted")],
        )


def _version(
    write: Write, registration: Registration, contents: Contents, *, number: int
) -> Version:
    about = registration.about
    return Version(
        model=registration.model,
        number=number,
        about=replace(about, author=about.author or write.change.actor),
        contents=contents,
        stage=Stage.NONE,
        created_at_us=write.time_us,
        updated_at_us=write.time_us,
        deleted_at_us=None,
        revision=write.revision,
    )
