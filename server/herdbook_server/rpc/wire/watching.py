"""Watches and the fleet on the wire."""

from __future__ import annotations

from functools import lru_cache

from herdbook.v1 import alias_pb2, fleet_pb2
from herdbook_server.errors import FieldInvalid, FieldViolation
from herdbook_server.ports.queries import Position
from herdbook_server.ports.values import Convergence, ReplicaReport, ReplicaState, Resolution
from herdbook_server.registry.pages import token_refused
from herdbook_server.registry.references import parse_reference
from herdbook_server.rpc.wire.common import digest_text, resolution, timestamp
from herdbook_server.watch.hub import check_counts
from herdbook_server.watch.values import Bookmark, ReferenceState, Replica, Subscription, Update

_STATES = {
    state: fleet_pb2.ReplicaState.Value(f"REPLICA_STATE_{state.name}") for state in ReplicaState
}
_STATES_BACK: dict[int, ReplicaState] = {number: state for state, number in _STATES.items()}
_DIGEST_BYTES = 32


def subscription(request: alias_pb2.WatchAliasesRequest) -> Subscription:
    """Return what a watch asks for.

    Raises:
        FieldInvalid: It is too much; nothing of it was looked at.
    """
    check_counts(request.references, request.model_prefixes, request.known)
    return Subscription(
        references=tuple(request.references),
        model_prefixes=tuple(request.model_prefixes),
        known={known.reference: _known(known) for known in request.known},
        replica=replica(request.replica) if request.HasField("replica") else None,
    )


def replica(message: alias_pb2.Replica) -> Replica:
    """Return who watches."""
    return Replica(message.id, message.host, message.name)


@lru_cache(maxsize=1024)
def encoded(value: Update) -> bytes:
    """Return what watchers are told as they are sent it; thousands may be told the same."""
    return _update(value).SerializeToString()


def _update(value: Update) -> alias_pb2.WatchAliasesResponse:
    if isinstance(value, Bookmark):
        bookmark = alias_pb2.Bookmark(revision=value.revision, initial_done=value.initial_done)
        return alias_pb2.WatchAliasesResponse(bookmark=bookmark)
    return alias_pb2.WatchAliasesResponse(state=_state(value))


def replica_state(number: int) -> ReplicaState:
    """Return what a replica does.

    Raises:
        FieldInvalid: It is not told, or unknown here.
    """
    state = _STATES_BACK.get(number)
    if state is None:
        message = "The state says what the replica does."
        raise FieldInvalid(message, fields=[FieldViolation("report.state", message)])
    return state


def reported(message: fleet_pb2.ReplicaReport, *, reported_at_us: int) -> ReplicaReport:
    """Return what a replica says.

    Raises:
        FieldInvalid: The state is not told, or unknown here.
        ReferenceInvalid: The reference cannot be parsed.
    """
    reference = parse_reference(message.reference, field="report.reference")
    return ReplicaReport(
        replica_id=message.replica.id,
        host=message.replica.host,
        name=message.replica.name,
        reference=str(reference),
        state=replica_state(message.state),
        version=message.version,
        serving_version=message.serving_version,
        serving_digest=message.serving_digest,
        failure=message.failure,
        reported_at_us=reported_at_us,
        model=reference.model,
    )


def replica_position(position: Position | None) -> tuple[str, str] | None:
    """Return after which replica and reference a page starts.

    Raises:
        PageTokenInvalid: The position is no such thing.
    """
    match position:
        case None:
            return None
        case (str(replica_id), str(reference)):
            return replica_id, reference
        case _:
            raise token_refused()


def report(value: ReplicaReport) -> fleet_pb2.ReplicaReport:
    """Return what a replica said as a message."""
    return fleet_pb2.ReplicaReport(
        replica=alias_pb2.Replica(id=value.replica_id, host=value.host, name=value.name),
        reference=value.reference,
        state=_STATES[value.state],
        version=value.version,
        serving_version=value.serving_version,
        serving_digest=value.serving_digest,
        failure=value.failure,
        reported_at=timestamp(value.reported_at_us),
    )


def convergence(value: Convergence) -> fleet_pb2.GetConvergenceResponse:
    """Return how far a reference has reached the fleet as a message."""
    return fleet_pb2.GetConvergenceResponse(
        target_version=value.target_version,
        replica_count=value.replica_count,
        converged_count=value.converged_count,
        failed_count=value.failed_count,
        pending_count=value.pending_count,
        failures=[report(failure) for failure in value.failures],
        serving_counts=value.serving_counts,
    )


def _state(value: ReferenceState) -> alias_pb2.ReferenceState:
    return alias_pb2.ReferenceState(
        reference=value.reference,
        resolution=None if value.resolution is None else resolution(value.resolution),
        revision=value.revision,
        missing_reason=value.missing_reason,
    )


def _known(message: alias_pb2.ReferenceState) -> ReferenceState:
    named = _resolution(message) if message.HasField("resolution") else None
    return ReferenceState(message.reference, named, message.revision, message.missing_reason)


def _resolution(message: alias_pb2.ReferenceState) -> Resolution:
    named = message.resolution
    return Resolution(
        model=named.model,
        version=named.version,
        digest=_digest(named.digest),
        source_uri=named.source_uri,
        size_bytes=named.size_bytes,
    )


def _digest(text: str) -> bytes | None:
    """Return the digest that a watcher has; one that cannot be read it does not have."""
    try:
        digest = bytes.fromhex(text.removeprefix("sha256:"))
    except ValueError:
        return None
    return digest if digest_text(digest) == text and len(digest) == _DIGEST_BYTES else None
