"""Versions and what names them."""

from __future__ import annotations

from typing import Final

from herdbook.core import values
from herdbook.core.wire.provenance import (
    environment,
    environment_to_wire,
    json_to_wire,
    json_value,
    lineage,
    lineage_to_wire,
    signature,
    signature_to_wire,
)
from herdbook.core.wire.times import time_if_set
from herdbook.errors import FieldInvalid
from herdbook.v1 import version_pb2

_STAGES: Final = {
    version_pb2.STAGE_NONE: values.Stage.NONE,
    version_pb2.STAGE_STAGING: values.Stage.STAGING,
    version_pb2.STAGE_PRODUCTION: values.Stage.PRODUCTION,
    version_pb2.STAGE_ARCHIVED: values.Stage.ARCHIVED,
}
_STAGES_TO_WIRE: Final = {stage: number for number, stage in _STAGES.items()}


def stage(number: version_pb2.Stage.ValueType) -> values.Stage:
    """Reads a stage; one that is not known counts as none."""
    return _STAGES.get(number, values.Stage.NONE)


def stage_to_wire(value: values.Stage) -> version_pb2.Stage.ValueType:
    """Writes a stage."""
    return _STAGES_TO_WIRE[value]


def version(message: version_pb2.Version) -> values.Version:
    """Reads a version."""
    return values.Version(
        model=message.model,
        number=message.number,
        label=message.label or None,
        description=message.description,
        tags=dict(message.tags),
        stage=stage(message.stage),
        aliases=tuple(message.aliases),
        author=message.author,
        params=dict(message.params),
        metrics=dict(message.metrics),
        signature=signature(message.signature) if message.HasField("signature") else None,
        input_example=json_value(message.input_example)
        if message.HasField("input_example")
        else None,
        framework=message.framework,
        format=message.format,
        lineage=lineage(message.lineage) if message.HasField("lineage") else None,
        environment=environment(message.environment) if message.HasField("environment") else None,
        digest=message.digest or None,
        size_bytes=message.size_bytes,
        file_count=message.file_count,
        source_uri=message.source_uri or None,
        created_at=time_if_set(message.created_at, is_set=message.HasField("created_at")),
        updated_at=time_if_set(message.updated_at, is_set=message.HasField("updated_at")),
        deleted_at=time_if_set(message.deleted_at, is_set=message.HasField("deleted_at")),
        purged_at=time_if_set(message.purged_at, is_set=message.HasField("purged_at")),
        revision=message.revision,
    )


def version_to_wire(value: values.Version) -> version_pb2.Version:
    """Writes what a registration may say of a version; what the server sets is left out.

    Raises:
        FieldInvalid: A tag or a param is no text, or a metric no number.
    """
    for field in ("tags", "params"):
        for key, text in getattr(value, field).items():
            _check(field, key, text, fits=isinstance(text, str), kind="text")
    for key, number in value.metrics.items():
        _check("metrics", key, number, fits=hasattr(number, "__float__"), kind="number")
    message = version_pb2.Version(
        model=value.model,
        label=value.label or "",
        description=value.description,
        tags=value.tags,
        author=value.author,
        params=value.params,
        metrics={key: float(number) for key, number in value.metrics.items()},
        framework=value.framework,
        format=value.format,
    )
    if value.signature is not None:
        message.signature.CopyFrom(signature_to_wire(value.signature))
    if value.input_example is not None:
        message.input_example.CopyFrom(json_to_wire(value.input_example))
    if value.lineage is not None:
        message.lineage.CopyFrom(lineage_to_wire(value.lineage))
    if value.environment is not None:
        message.environment.CopyFrom(environment_to_wire(value.environment))
    return message


def _check(field: str, key: object, given: object, *, fits: bool, kind: str) -> None:
    if not fits or not isinstance(key, str):
        raise FieldInvalid(f"{field}[{key!r}] is {given!r}, which is no {kind}.")


def resolution(message: version_pb2.Resolution) -> values.Resolution:
    """Reads a resolution."""
    return values.Resolution(
        model=message.model,
        version=message.version,
        digest=message.digest or None,
        source_uri=message.source_uri or None,
        size_bytes=message.size_bytes,
    )


def resolution_to_wire(value: values.Resolution) -> version_pb2.Resolution:
    """Writes a resolution."""
    return version_pb2.Resolution(
        model=value.model,
        version=value.version,
        digest=value.digest or "",
        source_uri=value.source_uri or "",
        size_bytes=value.size_bytes,
    )
