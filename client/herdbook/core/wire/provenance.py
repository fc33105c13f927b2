"""What a version expects, where it came from and what it was made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from google.protobuf import json_format, struct_pb2

from herdbook.core import values
from herdbook.core.wire.times import duration, seconds
from herdbook.errors import FieldInvalid
from herdbook.v1 import version_pb2


def json_value(message: struct_pb2.Value) -> values.Json:
    """Reads JSON."""
    return cast("values.Json", json_format.MessageToDict(message))


def json_to_wire(value: values.Json) -> struct_pb2.Value:
    """Writes JSON.

    Raises:
        FieldInvalid: It is none.
    """
    try:
        # What the stubs call a dict is whatever the message's JSON form is.
        return json_format.ParseDict(cast("dict[str, object]", value), struct_pb2.Value())
    except json_format.ParseError as error:
        raise FieldInvalid(f"The input example is not JSON: {error}") from None


def signature(message: version_pb2.Signature) -> values.Signature:
    """Reads a signature."""
    return values.Signature(
        inputs=_tensors(message.inputs),
        outputs=_tensors(message.outputs),
        params=_tensors(message.params),
    )


def _tensors(messages: Iterable[version_pb2.TensorSpec]) -> tuple[values.TensorSpec, ...]:
    return tuple(
        values.TensorSpec(spec.name, spec.dtype, tuple(spec.shape), spec.optional)
        for spec in messages
    )


def signature_to_wire(value: values.Signature) -> version_pb2.Signature:
    """Writes a signature."""
    return version_pb2.Signature(
        inputs=_tensors_to_wire(value.inputs),
        outputs=_tensors_to_wire(value.outputs),
        params=_tensors_to_wire(value.params),
    )


def _tensors_to_wire(specs: Iterable[values.TensorSpec]) -> list[version_pb2.TensorSpec]:
    return [
        version_pb2.TensorSpec(
            name=spec.name, dtype=spec.dtype, shape=spec.shape, optional=spec.optional
        )
        for spec in specs
    ]


def lineage(message: version_pb2.Lineage) -> values.Lineage:
    """Reads a lineage."""
    trained = message.HasField("training_duration")
    return values.Lineage(
        run_id=message.run_id,
        run_url=message.run_url,
        code=_code(message.code) if message.HasField("code") else None,
        datasets=tuple(
            values.Dataset(data.name, data.uri, data.digest, data.version)
            for data in message.datasets
        ),
        parents=tuple(message.parents),
        training_seconds=seconds(message.training_duration) if trained else None,
    )


def _code(message: version_pb2.Code) -> values.Code:
    return values.Code(message.repository, message.commit, message.dirty)


def lineage_to_wire(value: values.Lineage) -> version_pb2.Lineage:
    """Writes a lineage."""
    message = version_pb2.Lineage(
        run_id=value.run_id,
        run_url=value.run_url,
        datasets=[
            version_pb2.Dataset(
                name=data.name, uri=data.uri, digest=data.digest, version=data.version
            )
            for data in value.datasets
        ],
        parents=value.parents,
    )
    if value.code is not None:
        message.code.repository = value.code.repository
        message.code.commit = value.code.commit
        message.code.dirty = value.code.dirty
        message.code.SetInParent()
    if value.training_seconds is not None:
        message.training_duration.CopyFrom(duration(value.training_seconds))
    return message


def environment(message: version_pb2.Environment) -> values.Environment:
    """Reads an environment."""
    return values.Environment(
        python=message.python,
        packages=dict(message.packages),
        platform=message.platform,
        hardware=message.hardware,
    )


def environment_to_wire(value: values.Environment) -> version_pb2.Environment:
    """Writes an environment."""
    return version_pb2.Environment(
        python=value.python,
        packages=value.packages,
        platform=value.platform,
        hardware=value.hardware,
    )
