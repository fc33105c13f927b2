"""Values to fill databases with."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from herdbook_server.ports.values import (
    Alias,
    AliasMove,
    ChunkRef,
    Contents,
    Description,
    Event,
    EventKind,
    File,
    Model,
    ReplicaReport,
    ReplicaState,
    Stage,
    Version,
)

if TYPE_CHECKING:
    from herdbook_server.ports.database import Database


def digest_of(name: object) -> bytes:
    """Return a digest that belongs to a name."""
    return hashlib.sha256(str(name).encode()).digest()


def chunk(name: object, size_bytes: int = 10) -> ChunkRef:
    """Return a chunk that belongs to a name."""
    return ChunkRef(digest_of(name), size_bytes)


def files(*names: str) -> list[File]:
    """Return files of one chunk each, named after their paths."""
    return [File(name, (chunk(name),)) for name in sorted(names)]


def model(name: str = "team/cow", **changes: Any) -> Model:
    """Return a model."""
    values = {
        "name": name,
        "description": "",
        "tags": {},
        "author": "ada",
        "created_at_us": 1,
        "updated_at_us": 1,
        "deleted_at_us": None,
        "revision": 1,
    }
    return Model(**{**values, **changes})


def version(number: int, model: str = "team/cow", **changes: Any) -> Version:
    """Return a version by reference; what `Description` holds may be given directly."""
    about = {key: changes.pop(key) for key in list(changes) if key in Description.__slots__}
    values = {
        "model": model,
        "number": number,
        "about": Description(**about),
        "contents": Contents(None, "s3://herd/cow", 7, 1),
        "stage": Stage.NONE,
        "created_at_us": number,
        "updated_at_us": number,
        "deleted_at_us": None,
        "revision": 1,
    }
    return Version(**{**values, **changes})


def event(revision: int, position: int = 0, **changes: Any) -> Event:
    """Return an event."""
    values = {
        "revision": revision,
        "position": position,
        "kind": EventKind.MODEL_UPDATED,
        "model": "team/cow",
        "version": 0,
        "alias": "",
        "from_value": "",
        "to_value": "",
        "actor": "ada",
        "time_us": revision,
        "reason": "",
    }
    return Event(**{**values, **changes})


def alias(name: str, version: int, model: str = "team/cow", revision: int = 1) -> Alias:
    """Return an alias."""
    return Alias(model, name, version, 5, "ada", revision)


def move(revision: int, name: str = "champion", **changes: Any) -> AliasMove:
    """Return a move of an alias."""
    values = {
        "revision": revision,
        "model": "team/cow",
        "alias": name,
        "from_version": 0,
        "to_version": 1,
        "undo_revision": None,
        "rollback": False,
        "actor": "ada",
        "time_us": revision,
        "reason": "because",
    }
    return AliasMove(**{**values, **changes})


def report(replica_id: str, reference: str = "team/cow@champion", **changes: Any) -> ReplicaReport:
    """Return what a replica says."""
    values = {
        "replica_id": replica_id,
        "host": "host",
        "name": "pod",
        "reference": reference,
        "state": ReplicaState.SERVING,
        "version": 1,
        "serving_version": 1,
        "serving_digest": "sha256:00",
        "failure": "",
        "reported_at_us": 1,
        "model": "team/cow",
    }
    return ReplicaReport(**{**values, **changes})


async def add_model(database: Database, name: str = "team/cow", *, versions: int = 0) -> None:
    """Add a model with some versions."""
    async with database.write() as records:
        await records.models.insert(model(name))
        for _ in range(versions):
            number = await records.models.next_number(name)
            await records.versions.insert(version(number, name))
        await records.models.recount(name, change=versions)
        await records.events.add([event(records.revision)])
