"""Models, events, manifests and the server."""

from __future__ import annotations

from typing import Final

from herdbook.core import values
from herdbook.core.wire.times import time, time_if_set
from herdbook.v1 import event_pb2, manifest_pb2, model_pb2, server_pb2

_EVENT_KINDS: Final = {
    event_pb2.EventKind.Value(f"EVENT_KIND_{kind.name}"): kind
    for kind in values.EventKind
    if kind is not values.EventKind.UNKNOWN
}


def model(message: model_pb2.Model) -> values.Model:
    """Reads a model."""
    return values.Model(
        name=message.name,
        description=message.description,
        tags=dict(message.tags),
        latest_version=message.latest_version or None,
        version_count=message.version_count,
        author=message.author,
        created_at=time_if_set(message.created_at, is_set=message.HasField("created_at")),
        updated_at=time_if_set(message.updated_at, is_set=message.HasField("updated_at")),
        deleted_at=time_if_set(message.deleted_at, is_set=message.HasField("deleted_at")),
        revision=message.revision,
    )


def event(message: event_pb2.Event) -> values.Event:
    """Reads an event."""
    return values.Event(
        revision=message.revision,
        position=message.position,
        kind=_EVENT_KINDS.get(message.kind, values.EventKind.UNKNOWN),
        model=message.model,
        version=message.version or None,
        alias=message.alias or None,
        from_value=message.from_value,
        to_value=message.to_value,
        actor=message.actor,
        time=time(message.time),
        reason=message.reason,
    )


def file(message: manifest_pb2.File) -> values.File:
    """Reads a file of a manifest."""
    return values.File(
        message.path,
        tuple(values.ChunkRef(chunk.sha256, chunk.size_bytes) for chunk in message.chunks),
    )


def manifest_to_wire(value: values.Manifest) -> manifest_pb2.Manifest:
    """Writes a manifest."""
    message = manifest_pb2.Manifest()
    for entry in value.files:
        chunks = message.files.add(path=entry.path).chunks
        for chunk in entry.chunks:
            chunks.add(sha256=chunk.sha256, size_bytes=chunk.size_bytes)
    return message


def server_info(message: server_pb2.GetServerInfoResponse) -> values.ServerInfo:
    """Reads what server answers."""
    return values.ServerInfo(
        software_version=message.software_version,
        database=message.database,
        chunk_store=message.chunk_store,
        revision=message.revision,
        time=time(message.time),
        actor=message.actor,
        max_chunk_bytes=message.max_chunk_bytes,
    )
