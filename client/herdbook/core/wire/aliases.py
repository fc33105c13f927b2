"""Aliases, their moves and what watchers are told."""

from __future__ import annotations

from herdbook.core import values
from herdbook.core.wire.times import time, time_if_set
from herdbook.core.wire.versions import resolution, resolution_to_wire
from herdbook.v1 import alias_pb2


def alias(message: alias_pb2.Alias, *, previous_version: int = 0) -> values.Alias:
    """Reads an alias."""
    return values.Alias(
        model=message.model,
        alias=message.alias,
        version=message.version,
        moved_at=time_if_set(message.moved_at, is_set=message.HasField("moved_at")),
        moved_by=message.moved_by,
        revision=message.revision,
        previous_version=previous_version or None,
    )


def alias_move(message: alias_pb2.AliasMove) -> values.AliasMove:
    """Reads one move of an alias."""
    return values.AliasMove(
        revision=message.revision,
        model=message.model,
        alias=message.alias,
        from_version=message.from_version or None,
        to_version=message.to_version or None,
        rollback=message.rollback,
        actor=message.actor,
        time=time(message.time),
        reason=message.reason,
    )


def reference_state(message: alias_pb2.ReferenceState) -> values.ReferenceState:
    """Reads what a reference names."""
    named = message.HasField("resolution")
    return values.ReferenceState(
        reference=message.reference,
        resolution=resolution(message.resolution) if named else None,
        revision=message.revision,
        missing_reason=message.missing_reason or None,
    )


def reference_state_to_wire(value: values.ReferenceState) -> alias_pb2.ReferenceState:
    """Writes what a reference was known to name."""
    message = alias_pb2.ReferenceState(
        reference=value.reference,
        revision=value.revision,
        missing_reason=value.missing_reason or "",
    )
    if value.resolution is not None:
        message.resolution.CopyFrom(resolution_to_wire(value.resolution))
    return message


def watch_update(
    message: alias_pb2.WatchAliasesResponse,
) -> values.ReferenceState | values.Bookmark | None:
    """Reads one message of a watch; None if it is of a kind that came later."""
    match message.WhichOneof("update"):
        case "state":
            return reference_state(message.state)
        case "bookmark":
            return values.Bookmark(message.bookmark.revision, message.bookmark.initial_done)
        case _:
            return None
