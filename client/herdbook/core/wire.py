"""Between the messages of the contract and the values of the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, cast

from google.protobuf import json_format, struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from herdbook.core import values
from herdbook.errors import FieldInvalid
from herdbook.v1 import (
    alias_pb2,
    event_pb2,
    fleet_pb2,
    manifest_pb2,
    model_pb2,
    server_pb2,
    version_pb2,
)

_STAGES: Final = {
    version_pb2.STAGE_NONE: values.Stage.NONE,
    version_pb2.STAGE_STAGING: values.Stage.STAGING,
    version_pb2.STAGE_PRODUCTION: values.Stage.PRODUCTION,
    version_pb2.STAGE_ARCHIVED: values.Stage.ARCHIVED,
}
_STAGES_TO_WIRE: Final = {stage: number for number, stage in _STAGES.items()}

_REPLICA_STATES: Final = {
    fleet_pb2.REPLICA_STATE_WATCHING: values.ReplicaState.WATCHING,
    fleet_pb2.REPLICA_STATE_DOWNLOADING: values.ReplicaState.DOWNLOADING,
    fleet_pb2.REPLICA_STATE_LOADING: values.ReplicaState.LOADING,
    fleet_pb2.REPLICA_STATE_SERVING: values.ReplicaState.SERVING,
    fleet_pb2.REPLICA_STATE_FAILED: values.ReplicaState.FAILED,
}
_REPLICA_STATES_TO_WIRE: Final = {state: number for number, state in _REPLICA_STATES.items()}

_EVENT_KINDS: Final = {
    event_pb2.EventKind.Value(f"EVENT_KIND_{kind.name}"): kind
    for kind in values.EventKind
    if kind is not values.EventKind.UNKNOWN
}


def time(message: Timestamp) -> datetime:
    """Reads a time, in UTC, to the microsecond."""
    return message.ToDatetime(tzinfo=UTC)


def _time_if_set(message: Timestamp, *, is_set: bool) -> datetime | None:
    return time(message) if is_set else None


def seconds(message: Duration) -> float:
    """Reads a duration."""
    return message.seconds + message.nanos / 1e9


def duration(amount_seconds: float) -> Duration:
    """Writes a duration."""
    message = Duration()
    message.FromNanoseconds(round(amount_seconds * 1e9))
    return message


def model(message: model_pb2.Model) -> values.Model:
    """Reads a model."""
    return values.Model(
        name=message.name,
        description=message.description,
        tags=dict(message.tags),
        latest_version=message.latest_version or None,
        version_count=message.version_count,
        author=message.author,
        created_at=_time_if_set(message.created_at, is_set=message.HasField("created_at")),
        updated_at=_time_if_set(message.updated_at, is_set=message.HasField("updated_at")),
        deleted_at=_time_if_set(message.deleted_at, is_set=message.HasField("deleted_at")),
        revision=message.revision,
    )


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
        input_example=_json(message.input_example) if message.HasField("input_example") else None,
        framework=message.framework,
        format=message.format,
        lineage=lineage(message.lineage) if message.HasField("lineage") else None,
        environment=environment(message.environment) if message.HasField("environment") else None,
        digest=message.digest or None,
        size_bytes=message.size_bytes,
        file_count=message.file_count,
        source_uri=message.source_uri or None,
        created_at=_time_if_set(message.created_at, is_set=message.HasField("created_at")),
        updated_at=_time_if_set(message.updated_at, is_set=message.HasField("updated_at")),
        deleted_at=_time_if_set(message.deleted_at, is_set=message.HasField("deleted_at")),
        revision=message.revision,
    )


def version_to_wire(value: values.Version) -> version_pb2.Version:
    """Writes what a registration may say of a version; what the server sets is left out."""
    message = version_pb2.Version(
        model=value.model,
        label=value.label or "",
        description=value.description,
        tags=value.tags,
        author=value.author,
        params=value.params,
        metrics=value.metrics,
        framework=value.framework,
        format=value.format,
    )
    if value.signature is not None:
        message.signature.CopyFrom(signature_to_wire(value.signature))
    if value.input_example is not None:
        message.input_example.CopyFrom(_json_to_wire(value.input_example))
    if value.lineage is not None:
        message.lineage.CopyFrom(lineage_to_wire(value.lineage))
    if value.environment is not None:
        message.environment.CopyFrom(environment_to_wire(value.environment))
    return message


def _json(message: struct_pb2.Value) -> values.Json:
    return cast("values.Json", json_format.MessageToDict(message))


def _json_to_wire(value: values.Json) -> struct_pb2.Value:
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


def alias(message: alias_pb2.Alias, *, previous_version: int = 0) -> values.Alias:
    """Reads an alias."""
    return values.Alias(
        model=message.model,
        alias=message.alias,
        version=message.version,
        moved_at=_time_if_set(message.moved_at, is_set=message.HasField("moved_at")),
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


def replica_to_wire(value: values.Replica) -> alias_pb2.Replica:
    """Writes who a replica is."""
    return alias_pb2.Replica(id=value.id, host=value.host, name=value.name)


def replica_report(message: fleet_pb2.ReplicaReport) -> values.ReplicaReport:
    """Reads a report; a state that is not known counts as watching."""
    replica = message.replica
    return values.ReplicaReport(
        replica=values.Replica(replica.id, replica.host, replica.name),
        reference=message.reference,
        state=_REPLICA_STATES.get(message.state, values.ReplicaState.WATCHING),
        version=message.version or None,
        serving_version=message.serving_version or None,
        serving_digest=message.serving_digest,
        failure=message.failure,
        reported_at=_time_if_set(message.reported_at, is_set=message.HasField("reported_at")),
    )


def replica_report_to_wire(value: values.ReplicaReport) -> fleet_pb2.ReplicaReport:
    """Writes a report."""
    return fleet_pb2.ReplicaReport(
        replica=replica_to_wire(value.replica),
        reference=value.reference,
        state=_REPLICA_STATES_TO_WIRE[value.state],
        version=value.version or 0,
        serving_version=value.serving_version or 0,
        serving_digest=value.serving_digest,
        failure=value.failure,
    )


def convergence(reference: str, message: fleet_pb2.GetConvergenceResponse) -> values.Convergence:
    """Reads how far a reference has reached the fleet."""
    counts: Mapping[int, int] = message.serving_counts
    return values.Convergence(
        reference=reference,
        target_version=message.target_version or None,
        replica_count=message.replica_count,
        converged_count=message.converged_count,
        failed_count=message.failed_count,
        pending_count=message.pending_count,
        failures=tuple(replica_report(report) for report in message.failures),
        serving_counts=dict(counts),
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
