"""The values that the record is made of. Times are microseconds UTC, digests raw SHA-256."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

JSON = Any
"""What `json.loads` returns."""


class Stage(StrEnum):
    """A label on a version for people who work in stages."""

    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class EventKind(StrEnum):
    """What a revision did; names as in the contract's `EventKind`, in lower case."""

    UNSPECIFIED = "unspecified"
    """What a server of a later release did, beside which this one still runs."""
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
    LOAD_FAILED = "load_failed"


class ReplicaState(StrEnum):
    """What a replica does with a candidate."""

    WATCHING = "watching"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    SERVING = "serving"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Model:
    """A named line of versions."""

    name: str
    description: str
    tags: Mapping[str, str]
    author: str
    created_at_us: int
    updated_at_us: int
    deleted_at_us: int | None
    revision: int
    latest_version: int = 0
    """Number of the newest version that is not deleted; 0 if none."""
    version_count: int = 0
    """Versions that are not deleted."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a version consists of: a manifest held here, or a URI elsewhere."""

    digest: bytes | None
    """The manifest's digest; None for a version by reference."""
    source_uri: str
    size_bytes: int
    file_count: int


@dataclass(frozen=True, slots=True)
class Description:
    """What whoever registers a version says of it."""

    label: str | None = None
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    author: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    signature: JSON = None
    """`{"inputs": [tensor], "outputs": [tensor], "params": [tensor]}` or None.

    A tensor is `{"name", "dtype", "shape", "optional"}`.
    """
    input_example: JSON = None
    has_input_example: bool = False
    """Tells an example that is JSON null from none at all."""
    framework: str = ""
    format: str = ""
    lineage: JSON = None
    """`{"run_id", "run_url", "code", "datasets", "parents", "training_duration_us"}` or None.

    `code` is `{"repository", "commit", "dirty"}` or None; `datasets` is a list of
    `{"name", "uri", "digest", "version"}`, `parents` of references.
    """
    environment: JSON = None
    """`{"python", "packages": {name: version}, "platform", "hardware"}` or None."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model."""

    model: str
    number: int
    about: Description
    contents: Contents
    stage: Stage
    created_at_us: int
    updated_at_us: int
    deleted_at_us: int | None
    revision: int
    purged_at_us: int | None = None
    """When it lost its files, some time after it was deleted; set once, by `save`."""
    aliases: tuple[str, ...] = ()
    """Sorted; filled in by reads, ignored by writes."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a reference names."""

    model: str
    version: int
    digest: bytes | None
    source_uri: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Alias:
    """A name in a model that points at exactly one version."""

    model: str
    alias: str
    version: int
    moved_at_us: int
    moved_by: str
    revision: int
    """Of the move that made it so."""


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias."""

    revision: int
    model: str
    alias: str
    from_version: int
    """0: the alias did not exist."""
    to_version: int
    """0: the alias was deleted."""
    undo_revision: int | None
    """The move whose outcome a rollback from here restores; None if there is none."""
    rollback: bool
    actor: str
    time_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a revision did."""

    revision: int
    position: int
    kind: EventKind
    model: str
    version: int
    alias: str
    from_value: str
    to_value: str
    actor: str
    time_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """Who writes, when and why; the same for all that one write does."""

    actor: str
    time_us: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Names a chunk."""

    digest: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class File:
    """A path and its chunks."""

    path: str
    chunks: tuple[ChunkRef, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole file."""
        return sum(chunk.size_bytes for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The first answer to a request id."""

    request_id: str
    fingerprint: bytes
    """SHA-256 of what was asked, so that reuse for something else is noticed."""
    answer: JSON
    """Enough to build the answer again."""
    time_us: int


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What a replica last said of one reference."""

    replica_id: str
    host: str
    name: str
    reference: str
    state: ReplicaState
    version: int
    serving_version: int
    serving_digest: str
    failure: str
    reported_at_us: int
    model: str
    """The model that the reference is of."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How far a reference has reached the live replicas that watch it."""

    target_version: int
    """0: the reference names nothing."""
    replica_count: int
    converged_count: int
    failed_count: int
    failures: tuple[ReplicaReport, ...]
    """By replica id, 100 at most."""
    serving_counts: Mapping[int, int]
    """Replicas by the version they serve; 0 for none."""

    @property
    def pending_count(self) -> int:
        """Replicas that have neither converged nor failed."""
        return self.replica_count - self.converged_count - self.failed_count
