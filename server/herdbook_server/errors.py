"""What the registry refuses, as one small tree.

Each leaf has a stable reason, its name in upper snake case, that programs act on, and a sentence
for people. `rpc.status` maps the tree to gRPC statuses; the client raises the same tree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that is out of bounds."""

    field: str
    """Path in the request, such as `version.tags["team"]`."""
    description: str


@dataclass(frozen=True, slots=True)
class UnmetCondition:
    """Something that stands in the way of a change."""

    type: str
    """What kind of thing: `alias`, `replica`, `chunk` …"""
    subject: str
    """Which one."""
    description: str


@dataclass(frozen=True, slots=True)
class Resource:
    """The thing that an error is about."""

    type: str
    """`model`, `version`, `alias`, `file` or `chunk`."""
    name: str


class HerdbookError(Exception):
    """A refusal that the caller can act on."""

    reason: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        cls.reason = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(
        self,
        message: str,
        *,
        resource: Resource | None = None,
        fields: Sequence[FieldViolation] = (),
        conditions: Sequence[UnmetCondition] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.resource = resource
        self.fields = tuple(fields)
        self.conditions = tuple(conditions)
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds


class InvalidArgument(HerdbookError):
    """The request is wrong whatever the registry's state."""


class FieldInvalid(InvalidArgument):
    """A field is out of bounds."""


class NameInvalid(InvalidArgument):
    """A model's name breaks the rules for names."""


class AliasInvalid(InvalidArgument):
    """An alias breaks the rules for aliases."""


class ReferenceInvalid(InvalidArgument):
    """A reference cannot be parsed, or names a version in a way that this call does not take."""


class LabelInvalid(InvalidArgument):
    """A label is no semantic version."""


class FilterInvalid(InvalidArgument):
    """A filter cannot be parsed, or names an unknown field."""


class OrderByInvalid(InvalidArgument):
    """Sort keys cannot be parsed, or name an unknown field."""


class PageTokenInvalid(InvalidArgument):
    """A page token was not made by this list, or belongs to another filter or order."""


class PathInvalid(InvalidArgument):
    """A path in a manifest is not relative, normalised and unique."""


class ManifestInvalid(InvalidArgument):
    """A manifest is empty, too large or inconsistent."""


class ChunkMismatch(InvalidArgument):
    """The bytes of a chunk do not have the digest that was given."""


class ChunkTooLarge(InvalidArgument):
    """A chunk is empty or exceeds 2 MiB."""


class FileTooLarge(InvalidArgument):
    """A file has more chunks than a manifest entry takes."""


class RequestIdReused(InvalidArgument):
    """A request id was used before for a different request."""


class NotFound(HerdbookError):
    """A thing that the request names does not exist."""


class ModelNotFound(NotFound):
    """There is no such model, or it is deleted."""


class VersionNotFound(NotFound):
    """There is no such version, or it is deleted."""


class AliasNotFound(NotFound):
    """The model has no such alias."""


class FileNotFound(NotFound):
    """The version has no such file."""


class ChunkNotFound(NotFound):
    """The version's manifest does not list such a chunk."""


class AlreadyExists(HerdbookError):
    """The name is taken."""


class ModelExists(AlreadyExists):
    """A model of that name exists, perhaps deleted."""


class LabelExists(AlreadyExists):
    """Another version of the model carries that label."""


class Aborted(HerdbookError):
    """Somebody else changed the thing first: read it again and decide."""


class AliasMoved(Aborted):
    """The alias does not point at the expected version."""


class RevisionChanged(Aborted):
    """The thing does not have the expected revision."""


class FailedPrecondition(HerdbookError):
    """The registry's state forbids the change until something else is done."""


class ModelInUse(FailedPrecondition):
    """Aliases or live replicas use the model's versions."""


class VersionInUse(FailedPrecondition):
    """Aliases or live replicas use the version."""


class ModelDeleted(FailedPrecondition):
    """The model is deleted; restore it first."""


class VersionDeleted(FailedPrecondition):
    """The version is deleted; restore it first."""


class NoPreviousVersion(FailedPrecondition):
    """The alias pointed at nothing before."""


class LabelImmutable(FailedPrecondition):
    """The version has a label already."""


class NoManifest(FailedPrecondition):
    """The version's contents lie outside the registry."""


class WatchTooWide(FailedPrecondition):
    """More aliases lie below the prefixes of a watch than one watch follows."""


class VersionPurged(FailedPrecondition):
    """The version was deleted so long ago that its files are gone."""


class DirectUnavailable(FailedPrecondition):
    """The server gives no direct access to its chunk store."""


class ChunksMissing(FailedPrecondition):
    """The manifest names chunks that were not uploaded for this model."""


class OutOfRange(HerdbookError):
    """A position lies outside of what it addresses."""


class OffsetOutOfRange(OutOfRange):
    """The offset lies beyond the end of the file."""


class ResourceExhausted(HerdbookError):
    """A limit of the server is reached."""


class StoreFull(ResourceExhausted):
    """The chunk store takes no more bytes."""


class TooManyWatches(ResourceExhausted):
    """The server holds as many watches as it may."""


class SearchTooLong(ResourceExhausted):
    """A search takes more time than one may have."""


class Unavailable(HerdbookError):
    """The server cannot answer now; the same request may succeed later."""


class StoreUnavailable(Unavailable):
    """The chunk store does not answer."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class Draining(Unavailable):
    """The server is shutting down; another one, or the next one, will answer."""


class Overloaded(Unavailable):
    """The server has as much to do as it can hold; it did nothing of what was asked."""


class Unauthenticated(HerdbookError):
    """No credentials, or unknown ones."""


class DataLoss(HerdbookError):
    """Bytes that were stored are gone or changed."""


class ChunkLost(DataLoss):
    """A chunk that a version lists is gone from the chunk store."""
