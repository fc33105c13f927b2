"""Models on the wire."""

from __future__ import annotations

from herdbook.v1 import model_pb2
from herdbook_server.ports.values import Model
from herdbook_server.rpc.wire.common import optional_timestamp, timestamp


def model(value: Model) -> model_pb2.Model:
    """Return a model as a message."""
    return model_pb2.Model(
        name=value.name,
        description=value.description,
        tags=value.tags,
        latest_version=value.latest_version,
        version_count=value.version_count,
        author=value.author,
        created_at=timestamp(value.created_at_us),
        updated_at=timestamp(value.updated_at_us),
        deleted_at=optional_timestamp(value.deleted_at_us),
        revision=value.revision,
    )
