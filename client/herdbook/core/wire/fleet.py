"""Replicas and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from herdbook.core import values
from herdbook.core.wire.times import time_if_set
from herdbook.v1 import alias_pb2, fleet_pb2

_REPLICA_STATES: Final = {
    fleet_pb2.REPLICA_STATE_WATCHING: values.ReplicaState.WATCHING,
    fleet_pb2.REPLICA_STATE_DOWNLOADING: values.ReplicaState.DOWNLOADING,
    fleet_pb2.REPLICA_STATE_LOADING: values.ReplicaState.LOADING,
    fleet_pb2.REPLICA_STATE_SERVING: values.ReplicaState.SERVING,
    fleet_pb2.REPLICA_STATE_FAILED: values.ReplicaState.FAILED,
    fleet_pb2.REPLICA_STATE_STOPPED: values.ReplicaState.STOPPED,
}
_REPLICA_STATES_TO_WIRE: Final = {state: number for number, state in _REPLICA_STATES.items()}


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
        reported_at=time_if_set(message.reported_at, is_set=message.HasField("reported_at")),
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
