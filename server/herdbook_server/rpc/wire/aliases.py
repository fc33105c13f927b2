"""Aliases on the wire."""

from __future__ import annotations

from herdbook.v1 import alias_pb2
from herdbook_server.ports.values import Alias, AliasMove
from herdbook_server.rpc.wire.common import timestamp


def alias(value: Alias) -> alias_pb2.Alias:
    """Return an alias as a message."""
    return alias_pb2.Alias(
        model=value.model,
        alias=value.alias,
        version=value.version,
        moved_at=timestamp(value.moved_at_us),
        moved_by=value.moved_by,
        revision=value.revision,
    )


def alias_move(value: AliasMove) -> alias_pb2.AliasMove:
    """Return a move as a message."""
    return alias_pb2.AliasMove(
        revision=value.revision,
        model=value.model,
        alias=value.alias,
        from_version=value.from_version,
        to_version=value.to_version,
        rollback=value.rollback,
        actor=value.actor,
        time=timestamp(value.time_us),
        reason=value.reason,
    )
