"""Events on the wire."""

from __future__ import annotations

from herdbook.v1 import event_pb2
from herdbook_server.ports.values import Event, EventKind
from herdbook_server.rpc.wire.common import timestamp

_KINDS = {kind: event_pb2.EventKind.Value(f"EVENT_KIND_{kind.name}") for kind in EventKind}


def event(value: Event) -> event_pb2.Event:
    """Return an event as a message."""
    return event_pb2.Event(
        revision=value.revision,
        position=value.position,
        kind=_KINDS[value.kind],
        model=value.model,
        version=value.version,
        alias=value.alias,
        from_value=value.from_value,
        to_value=value.to_value,
        actor=value.actor,
        time=timestamp(value.time_us),
        reason=value.reason,
    )
