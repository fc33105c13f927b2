"""Versions on the wire."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration

from herdbook.v1 import version_pb2
from herdbook_server.errors import FieldInvalid, FieldViolation
from herdbook_server.ports.values import JSON, Description, Stage, Version
from herdbook_server.registry.versions import AliasTarget, Registration
from herdbook_server.rpc.large_requests import REQUEST_MAX_BYTES
from herdbook_server.rpc.wire.artifacts import files
from herdbook_server.rpc.wire.common import (
    digest_text,
    expected_version,
    optional_text,
    optional_timestamp,
    timestamp,
)
from herdbook_server.rpc.wire.examples import from_example, to_example

_STAGES = {stage: version_pb2.Stage.Value(f"STAGE_{stage.name}") for stage in Stage}
_STAGES_BACK: dict[int, Stage] = {number: stage for stage, number in _STAGES.items()}
_DURATION_MAX_SECONDS = 315_576_000_000
_NANOS = 1_000_000_000
_MICROSECONDS = 1_000_000


def version(value: Version) -> version_pb2.Version:
    """Return a version as a message."""
    about, contents = value.about, value.contents
    return version_pb2.Version(
        model=value.model,
        number=value.number,
        label=about.label or "",
        description=about.description,
        tags=about.tags,
        stage=_STAGES[value.stage],
        aliases=value.aliases,
        author=about.author,
        params=about.params,
        metrics=about.metrics,
        signature=_signature(about.signature),
        input_example=to_example(about.input_example) if about.has_input_example else None,
        framework=about.framework,
        format=about.format,
        lineage=_lineage(about.lineage),
        environment=_environment(about.environment),
        digest=digest_text(contents.digest),
        size_bytes=contents.size_bytes,
        file_count=contents.file_count,
        source_uri=contents.source_uri,
        created_at=timestamp(value.created_at_us),
        updated_at=timestamp(value.updated_at_us),
        deleted_at=optional_timestamp(value.deleted_at_us),
        purged_at=optional_timestamp(value.purged_at_us),
        revision=value.revision,
    )


def listed_version(value: Version) -> version_pb2.Version:
    """Return a version as lists show it: without its packages."""
    message = version(value)
    if message.HasField("environment"):
        message.environment.ClearField("packages")
    return message


def registration(request: version_pb2.RegisterVersionRequest) -> Registration:
    """Return what is to be registered.

    Raises:
        FieldInvalid: Too much is said of the version; nothing of it was looked at.
    """
    size_bytes = request.version.ByteSize()
    if size_bytes > REQUEST_MAX_BYTES:
        raise _invalid("version", f"It has {size_bytes} bytes; {REQUEST_MAX_BYTES} is the most.")
    return Registration(
        model=request.version.model,
        about=_description(request.version),
        files=files(request.manifest) if request.HasField("manifest") else None,
        source_uri=optional_text(request.source_uri),
        aliases=tuple(map(_alias_target, request.aliases)),
        reason=request.reason,
        request_id=optional_text(request.request_id),
    )


def _alias_target(target: version_pb2.AliasTarget) -> AliasTarget:
    return AliasTarget(target.alias, expected_version(target))


def stage(number: int) -> Stage:
    """Return a stage.

    Raises:
        FieldInvalid: It is not told, or unknown here.
    """
    known = _STAGES_BACK.get(number)
    if known is None:
        raise _invalid("stage", "A stage is required: none, staging, production or archived.")
    return known


def _description(message: version_pb2.Version) -> Description:
    has_example = message.HasField("input_example")
    return Description(
        label=optional_text(message.label),
        description=message.description,
        tags=dict(message.tags),
        author=message.author,
        params=dict(message.params),
        metrics=dict(message.metrics),
        signature=_signature_json(message),
        input_example=from_example(message.input_example) if has_example else None,
        has_input_example=has_example,
        framework=message.framework,
        format=message.format,
        lineage=_lineage_json(message),
        environment=_environment_json(message),
    )


def _signature_json(message: version_pb2.Version) -> JSON:
    if not message.HasField("signature"):
        return None
    given = message.signature
    return {
        "inputs": _specs_json(given.inputs),
        "outputs": _specs_json(given.outputs),
        "params": _specs_json(given.params),
    }


def _specs_json(specs: Iterable[version_pb2.TensorSpec]) -> JSON:
    return [
        {
            "name": spec.name,
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "optional": spec.optional,
        }
        for spec in specs
    ]


def _signature(stored: JSON) -> version_pb2.Signature | None:
    if stored is None:
        return None
    return version_pb2.Signature(
        inputs=[version_pb2.TensorSpec(**spec) for spec in stored["inputs"]],
        outputs=[version_pb2.TensorSpec(**spec) for spec in stored["outputs"]],
        params=[version_pb2.TensorSpec(**spec) for spec in stored["params"]],
    )


def _lineage_json(message: version_pb2.Version) -> JSON:
    if not message.HasField("lineage"):
        return None
    given = message.lineage
    return {
        "run_id": given.run_id,
        "run_url": given.run_url,
        "code": _code_json(given.code) if given.HasField("code") else None,
        "datasets": [_dataset_json(dataset) for dataset in given.datasets],
        "parents": list(given.parents),
        "training_duration_us": (
            _duration_us(given.training_duration) if given.HasField("training_duration") else None
        ),
    }


def _code_json(given: version_pb2.Code) -> JSON:
    return {"repository": given.repository, "commit": given.commit, "dirty": given.dirty}


def _dataset_json(given: version_pb2.Dataset) -> JSON:
    return {
        "name": given.name,
        "uri": given.uri,
        "digest": given.digest,
        "version": given.version,
    }


def _lineage(stored: JSON) -> version_pb2.Lineage | None:
    if stored is None:
        return None
    code, duration_us = stored["code"], stored["training_duration_us"]
    return version_pb2.Lineage(
        run_id=stored["run_id"],
        run_url=stored["run_url"],
        code=None if code is None else version_pb2.Code(**code),
        datasets=[version_pb2.Dataset(**dataset) for dataset in stored["datasets"]],
        parents=stored["parents"],
        training_duration=None if duration_us is None else _duration(duration_us),
    )


def _environment_json(message: version_pb2.Version) -> JSON:
    if not message.HasField("environment"):
        return None
    given = message.environment
    return {
        "python": given.python,
        "packages": dict(given.packages),
        "platform": given.platform,
        "hardware": given.hardware,
    }


def _environment(stored: JSON) -> version_pb2.Environment | None:
    return None if stored is None else version_pb2.Environment(**stored)


def _duration_us(message: Duration) -> int:
    if not 0 <= message.seconds <= _DURATION_MAX_SECONDS or not 0 <= message.nanos < _NANOS:
        field = "version.lineage.training_duration"
        raise _invalid(field, "A training takes no negative time, and less than 10,000 years.")
    return message.seconds * _MICROSECONDS + message.nanos // 1000


def _duration(duration_us: int) -> Duration:
    seconds, microseconds = divmod(duration_us, _MICROSECONDS)
    return Duration(seconds=seconds, nanos=microseconds * 1000)


def _invalid(field: str, description: str) -> FieldInvalid:
    return FieldInvalid(description, fields=[FieldViolation(field, description)])
