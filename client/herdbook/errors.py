"""What can go wrong, as one tree that the server and the client share.

The class of an error is its reason in camel case: the server's `VERSION_NOT_FOUND` is raised as
`VersionNotFound`. Each lies under a class for its status, and all under `HerdbookError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request, or one thing that stands in its way."""

    subject: str
    """The field of the request, or what stands in the way, such as `alias:fraud/tc@champion`."""

    description: str
    """What is wrong with it."""

    type: str = ""
    """The kind of what stands in the way; empty for fields."""


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What a program can act on."""

    reason: str = ""
    """The reason as sent; empty: that of the error's class."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts that belong to the reason, such as `current_version`."""

    violations: tuple[Violation, ...] = ()
    """Fields to blame, or what stands in the way."""

    resource_type: str = ""
    """What kind of thing it is about: `model`, `version`, `alias`, `file`, `chunk`."""

    resource_name: str = ""
    """Which thing it is about."""

    retry_after_seconds: float | None = None
    """When the server asks to try again."""

    request_id: str = ""
    """The server's id of the request, for its operators."""


class HerdbookError(Exception):
    """An answer that is not the one asked for."""

    status: ClassVar[str] = "UNKNOWN"
    """The gRPC status it has on the wire."""

    def __init__(self, message: str = "", *, details: ErrorDetails | None = None) -> None:
        """Makes the error; without a message, its docstring's first line is the message."""
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])
        self.details = details or ErrorDetails()

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """The reason for programs, such as `VERSION_NOT_FOUND`."""
        return self.details.reason or reason_of(type(self))

    def __str__(self) -> str:
        """The sentence, and the fields to blame if it does not name them."""
        blamed = [
            f"{v.subject}: {v.description}"
            for v in self.details.violations
            if v.description not in self.message
        ]
        return " ".join([self.message, *(f"({text})" for text in blamed[:10])])


def reason_of(error: type[HerdbookError]) -> str:
    """Spells the name of an error's class as a reason."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error.__name__).upper()


class InvalidArgument(HerdbookError):
    """Something in the request can never be right."""

    status = "INVALID_ARGUMENT"


class NotFound(HerdbookError):
    """What was asked for does not exist."""

    status = "NOT_FOUND"


class AlreadyExists(HerdbookError):
    """What was to be made is there already."""

    status = "ALREADY_EXISTS"


class Aborted(HerdbookError):
    """Somebody else was faster: read again, decide again."""

    status = "ABORTED"


class FailedPrecondition(HerdbookError):
    """Something stands in the way and must be changed first."""

    status = "FAILED_PRECONDITION"


class OutOfRange(HerdbookError):
    """A position lies past the end."""

    status = "OUT_OF_RANGE"


class ResourceExhausted(HerdbookError):
    """Some limit is reached."""

    status = "RESOURCE_EXHAUSTED"


class Unavailable(HerdbookError):
    """The server cannot be reached, or cannot answer now; trying again may help."""

    status = "UNAVAILABLE"


class Unauthenticated(HerdbookError):
    """No credentials, or bad ones."""

    status = "UNAUTHENTICATED"


class PermissionDenied(HerdbookError):
    """The credentials do not allow it."""

    status = "PERMISSION_DENIED"


class DataLoss(HerdbookError):
    """Bytes are lost or damaged."""

    status = "DATA_LOSS"


class Internal(HerdbookError):
    """A bug in the server."""

    status = "INTERNAL"


class Unimplemented(HerdbookError):
    """The server is too old for this."""

    status = "UNIMPLEMENTED"


class DeadlineExceeded(HerdbookError):
    """No answer came in time; what was asked may have been done."""

    status = "DEADLINE_EXCEEDED"


class Cancelled(HerdbookError):
    """The call was given up."""

    status = "CANCELLED"


class FieldInvalid(InvalidArgument):
    """A field is out of bounds."""


class NameInvalid(InvalidArgument):
    """It is no model name."""


class AliasInvalid(InvalidArgument):
    """It is no alias."""


class ReferenceInvalid(InvalidArgument):
    """It is no reference."""


class LabelInvalid(InvalidArgument):
    """It is no semantic version."""


class FilterInvalid(InvalidArgument):
    """The filter cannot be understood."""


class OrderByInvalid(InvalidArgument):
    """The sort keys cannot be understood."""


class PageTokenInvalid(InvalidArgument):
    """The page token is of another list."""


class PathInvalid(InvalidArgument):
    """It is no path that a version may hold."""


class ManifestInvalid(InvalidArgument):
    """The list of files contradicts itself or a limit."""


class ChunkMismatch(InvalidArgument):
    """The bytes of a chunk do not have its digest."""


class ChunkTooLarge(InvalidArgument):
    """A chunk has more than 2 MiB."""


class FileTooLarge(InvalidArgument):
    """A file has more bytes than a version may hold."""


class RequestIdReused(InvalidArgument):
    """The request id was used for another request."""


class ModelNotFound(NotFound):
    """The model does not exist."""


class VersionNotFound(NotFound):
    """The version does not exist."""


class AliasNotFound(NotFound):
    """The alias does not exist."""


class FileNotFound(NotFound):
    """The version has no such file."""


class ChunkNotFound(NotFound):
    """The version lists no such chunk."""


class ModelExists(AlreadyExists):
    """A model of this name exists."""


class LabelExists(AlreadyExists):
    """Another version of the model has this label."""


class AliasMoved(Aborted):
    """The alias does not point at the expected version."""

    @property
    def current_version(self) -> int | None:
        """The version it points at, 0 if it does not exist; None if the server did not say."""
        text = self.details.metadata.get("current_version", "")
        return int(text) if text.isdecimal() else None


class RevisionChanged(Aborted):
    """It was changed since."""

    @property
    def current_revision(self) -> int | None:
        """The revision it has; None if the server did not say."""
        text = self.details.metadata.get("current_revision", "")
        return int(text) if text.isdecimal() else None


class ModelInUse(FailedPrecondition):
    """Aliases point at versions of the model, or live replicas serve them."""


class VersionInUse(FailedPrecondition):
    """Aliases point at the version, or live replicas serve it."""


class ModelDeleted(FailedPrecondition):
    """The model is deleted: restore it first."""


class VersionDeleted(FailedPrecondition):
    """The version is deleted: restore it first."""


class NoPreviousVersion(FailedPrecondition):
    """The alias has not pointed at another version before."""


class LabelImmutable(FailedPrecondition):
    """A label that is set stays."""


class NoManifest(FailedPrecondition):
    """The registry does not hold the files of this version."""


class VersionPurged(FailedPrecondition):
    """The version was deleted so long ago that its files are gone."""


class DirectUnavailable(FailedPrecondition):
    """The server gives no direct access to its chunk store."""


class ChunksMissing(FailedPrecondition):
    """Chunks of the manifest have not been uploaded."""


class OffsetOutOfRange(OutOfRange):
    """The offset lies past the end of the file."""


class StoreFull(ResourceExhausted):
    """The server has no space left."""


class SearchTooLong(ResourceExhausted):
    """The search takes more time than the server gives one: make the filter narrower."""


class WatchTooWide(FailedPrecondition):
    """More aliases lie below the prefixes of a watch than one watch follows."""


class TooManyWatches(ResourceExhausted):
    """The server has no room for another watch."""


class StoreUnavailable(Unavailable):
    """The server cannot reach its bytes now."""


class DatabaseUnavailable(Unavailable):
    """The server cannot reach its record now."""


class Draining(Unavailable):
    """The server is going down."""


class Overloaded(Unavailable):
    """The server has as much to do as it can hold; it did nothing of what was asked."""


class ChunkLost(DataLoss):
    """The server should have a chunk and has not."""


# Errors of the client alone.


class ConnectionLost(Unavailable):
    """The connection broke in the middle of a call."""


class EncryptionMismatch(Unavailable):
    """Client and server do not agree about TLS."""


class ChecksumMismatch(DataLoss):
    """Bytes that came from the server do not have their digest, even when fetched again."""


class ResponseInvalid(Internal):
    """The server's answer breaks the contract."""


class DestinationExists(AlreadyExists):
    """The destination of a pull holds something else."""


class DestinationUnusable(FailedPrecondition):
    """The destination of a pull cannot be made, or must not be replaced."""


class SourceChanged(FailedPrecondition):
    """A file changed while it was pushed."""


class SourceNotFound(NotFound):
    """There is nothing to push at this path."""


class SourceInvalid(InvalidArgument):
    """What lies at this path cannot be pushed."""


class LocalDiskFull(ResourceExhausted):
    """This machine has no space left for the files."""


class ForkedProcess(FailedPrecondition):
    """This client was used before the process forked: make one in the child."""


class ClientClosed(FailedPrecondition):
    """The client is closed."""


def _tree(root: type[HerdbookError]) -> dict[str, type[HerdbookError]]:
    found = {reason_of(root): root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_REASON: Mapping[str, type[HerdbookError]] = _tree(HerdbookError)
"""Every error of this tree by its reason."""

BY_STATUS: Mapping[str, type[HerdbookError]] = {
    error.status: error for error in HerdbookError.__subclasses__()
}
"""The error that stands for each gRPC status, for reasons that this client is too old to know."""
