"""What the registry records: models, versions, aliases, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from herdbook.core.values.artifacts import TransferReport
from herdbook.core.values.provenance import Environment, Json, Lineage, Signature


class Stage(StrEnum):
    """A label on a version for people who work in stages."""

    NONE = "none"
    """In development; every version starts here."""

    STAGING = "staging"
    """Being tried before production."""

    PRODUCTION = "production"
    """In production."""

    ARCHIVED = "archived"
    """Out of use, kept for the record."""


@dataclass(frozen=True, slots=True)
class Model:
    """A named line of versions."""

    name: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    latest_version: int | None = None
    """The number of the newest version that is not deleted; None if there is none."""

    version_count: int = 0
    """How many versions it has, deleted ones not counted."""

    author: str = ""
    """Who created it."""

    created_at: datetime | None = None

    updated_at: datetime | None = None
    """When its description, tags or deletion last changed."""

    deleted_at: datetime | None = None
    """When it was deleted; None while it is not."""

    revision: int = 0
    """The registry revision of its last change."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model: immutable content; editable description, tags, stage."""

    model: str

    number: int
    """The number in its model: 1, 2, 3 …, never reused."""

    label: str | None = None
    """A semantic version such as `2.1.0`, unique in its model."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    stage: Stage = Stage.NONE

    aliases: tuple[str, ...] = ()
    """Names of the aliases that point at it, sorted."""

    author: str = ""
    """Who made it."""

    params: Mapping[str, str] = field(default_factory=dict)
    """Training parameters."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Measured figures."""

    signature: Signature | None = None
    """What goes in and comes out of the model."""

    input_example: Json = None
    """An input that the model accepts."""

    framework: str = ""
    """The library that made it, such as `scikit-learn`."""

    format: str = ""
    """The format of its files, such as `joblib`, `onnx`, `safetensors`."""

    lineage: Lineage | None = None
    """Where it came from."""

    environment: Environment | None = None
    """What it was made with; its packages are left out in lists."""

    digest: str | None = None
    """The digest of its manifest, `sha256:` and 64 hex digits; None for a version by reference."""

    size_bytes: int = 0
    """Bytes of all files."""

    file_count: int = 0
    """How many files."""

    source_uri: str | None = None
    """Where the contents lie if the registry does not hold them."""

    created_at: datetime | None = None
    """When it was registered."""

    updated_at: datetime | None = None
    """When its description, tags, stage, label or deletion last changed."""

    deleted_at: datetime | None = None
    """When it was deleted; None while it is not."""

    purged_at: datetime | None = None
    """When its files went for good, long after it was deleted; None while it can be restored."""

    revision: int = 0
    """The registry revision of its last change."""

    transfer: TransferReport | None = field(default=None, compare=False)
    """What pushing it cost; only on the answer of `push`."""

    @property
    def reference(self) -> str:
        """The reference that names this version and no other, such as `team/task:7`."""
        return f"{self.model}:{self.number}"


@dataclass(frozen=True, slots=True)
class StageChange:
    """What `set_stage` did."""

    version: Version
    """The moved version."""

    archived_versions: tuple[int, ...]
    """Numbers of the versions that were archived by it, ascending."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A name in a model that points at exactly one version."""

    model: str
    alias: str

    version: int
    """The number of the version it points at."""

    moved_at: datetime | None = None
    """When it last moved."""

    moved_by: str = ""
    """Who moved it last."""

    revision: int = 0
    """The registry revision of its last move."""

    previous_version: int | None = field(default=None, compare=False)
    """The version it pointed at before this change, None if it did not exist.

    Told by `set_alias` and `rollback_alias` alone.
    """


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias."""

    revision: int
    """The registry revision that made it."""

    model: str
    alias: str

    from_version: int | None
    """The version before; None if the alias did not exist."""

    to_version: int | None
    """The version after; None if the alias was deleted."""

    rollback: bool
    """It was made by a rollback."""

    actor: str
    """Who made it."""

    time: datetime

    reason: str
    """Why."""


class EventKind(StrEnum):
    """What happened."""

    UNKNOWN = "unknown"
    """A kind that this client is too old to know."""

    MODEL_CREATED = "model_created"
    MODEL_UPDATED = "model_updated"
    MODEL_TAGGED = "model_tagged"
    MODEL_DELETED = "model_deleted"
    MODEL_RESTORED = "model_restored"
    VERSION_REGISTERED = "version_registered"
    VERSION_UPDATED = "version_updated"
    VERSION_TAGGED = "version_tagged"
    VERSION_DELETED = "version_deleted"
    VERSION_RESTORED = "version_restored"
    VERSION_PURGED = "version_purged"
    STAGE_SET = "stage_set"
    ALIAS_SET = "alias_set"
    ALIAS_DELETED = "alias_deleted"
    FLEET_CONVERGED = "fleet_converged"
    """Every live replica that watches an alias has served its version, for 30 seconds; once for
    each move."""
    LOAD_FAILED = "load_failed"
    """A replica could not load the version that an alias names; once for each move."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a revision did."""

    revision: int
    """The registry revision: 1, 2, 3 …, without gaps. One revision may have several events."""

    position: int
    """Which of the revision's events this is: 0, 1, 2 …"""

    kind: EventKind
    model: str

    version: int | None
    """The version's number; for aliases, that after the move. None if it is not about one."""

    alias: str | None
    """The alias; None if it is not about one."""

    from_value: str
    """What was before, where that is one value: an alias's version, a version's stage."""

    to_value: str
    """What is now, likewise."""

    actor: str
    """Who did it."""

    time: datetime
    """When it was committed."""

    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The version that a reference names."""

    model: str
    version: int

    digest: str | None = None
    """The version's digest; None for a version by reference."""

    source_uri: str | None = None
    """Where the contents lie if the registry does not hold them."""

    size_bytes: int = 0
    """Bytes of all files."""

    @property
    def reference(self) -> str:
        """The reference that names this version and no other, such as `team/task:7`."""
        return f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """One field of several versions side by side."""

    field: str
    """The field's name, such as `metrics.rmse` or `stage`."""

    values: tuple[Json, ...]
    """The field in each version, in the order of the versions; None where it is not set."""

    @property
    def differs(self) -> bool:
        """Whether the versions disagree."""
        return any(value != self.values[0] for value in self.values[1:])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several versions side by side."""

    versions: tuple[Version, ...]

    fields: tuple[FieldComparison, ...]
    """Every field that at least one of the versions has."""

    @property
    def differences(self) -> tuple[FieldComparison, ...]:
        """The fields in which the versions disagree."""
        return tuple(row for row in self.fields if row.differs)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What server answers."""

    software_version: str

    database: str
    """The engine that holds the record: `sqlite` or `postgresql`."""

    chunk_store: str
    """The engine that holds the bytes: `local` or `s3`."""

    revision: int
    """The registry's revision."""

    time: datetime
    """The server's clock."""

    actor: str
    """Who the caller is taken for."""

    max_chunk_bytes: int
    """The largest chunk taken."""


@dataclass(frozen=True, slots=True)
class LostChunk:
    """A chunk that the registry should hold, whole, and does not."""

    sha256: str
    """In hexadecimal."""

    size_bytes: int

    versions: tuple[str, ...]
    """Versions that need it, as `model:number`; 10 at most."""


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What the registry found when it read what it holds."""

    checked_count: int
    """How many chunks were read."""

    checked_bytes: int
    """How many bytes they have."""

    lost: tuple[LostChunk, ...]
    """Those that are gone or damaged; pushing the same files again heals them."""


@dataclass(frozen=True, slots=True)
class VerificationProgress:
    """How far a verification has come."""

    total_bytes: int
    """Bytes to read in all."""

    checked_bytes: int
    """Bytes read so far."""


@dataclass(frozen=True, slots=True)
class CopyReport:
    """How a local directory differs from a version; all empty if it does not."""

    missing: tuple[str, ...]
    """Files that are not there."""

    damaged: tuple[str, ...]
    """Files with other bytes."""

    foreign: tuple[str, ...]
    """Files that the version does not have."""

    @property
    def whole(self) -> bool:
        """Whether the directory holds exactly the version."""
        return not (self.missing or self.damaged or self.foreign)


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """What garbage collection found."""

    chunk_count: int
    """How many chunks were, or in a dry run would be, deleted."""

    size_bytes: int
    """How many bytes they hold."""

    deleted: bool
    """They were deleted."""

    purged_version_count: int = 0
    """How many versions that were deleted long ago lost, or would lose, their files for good."""
