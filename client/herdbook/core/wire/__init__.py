"""Between the messages of the contract and the values of the client."""

from __future__ import annotations

from herdbook.core.wire.aliases import (
    alias,
    alias_move,
    reference_state,
    reference_state_to_wire,
    watch_update,
)
from herdbook.core.wire.fleet import (
    convergence,
    replica_report,
    replica_report_to_wire,
    replica_to_wire,
)
from herdbook.core.wire.models import (
    event,
    file,
    manifest_to_wire,
    model,
    server_info,
)
from herdbook.core.wire.provenance import (
    environment,
    environment_to_wire,
    lineage,
    lineage_to_wire,
    signature,
    signature_to_wire,
)
from herdbook.core.wire.times import (
    duration,
    seconds,
    time,
)
from herdbook.core.wire.versions import (
    resolution,
    resolution_to_wire,
    stage,
    stage_to_wire,
    version,
    version_to_wire,
)

__all__ = [
    "alias",
    "alias_move",
    "convergence",
    "duration",
    "environment",
    "environment_to_wire",
    "event",
    "file",
    "lineage",
    "lineage_to_wire",
    "manifest_to_wire",
    "model",
    "reference_state",
    "reference_state_to_wire",
    "replica_report",
    "replica_report_to_wire",
    "replica_to_wire",
    "resolution",
    "resolution_to_wire",
    "seconds",
    "server_info",
    "signature",
    "signature_to_wire",
    "stage",
    "stage_to_wire",
    "time",
    "version",
    "version_to_wire",
    "watch_update",
]
