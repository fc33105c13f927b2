"""What watchers are told, and what replicas say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from herdbook.core.values.registry import Resolution


@dataclass(frozen=True, slots=True)
class ReferenceState:
    """What a reference names at some revision."""

    reference: str
    """The reference as asked, or `model@alias` for a watch by prefix."""

    resolution: Resolution | None
    """The version it names; None if it names none."""

    revision: int
    """The registry revision at which this was so."""

    missing_reason: str | None = None
    """Why it names none, as an error reason such as `ALIAS_NOT_FOUND`; None if it names one."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Up to where the watcher has been told everything."""

    revision: int
    """Every change up to this registry revision has been told."""

    initial_done: bool = False
    """The first states of this connection have all been told; set on its first bookmark."""


@dataclass(frozen=True, slots=True)
class Replica:
    """Names a serving process."""

    id: str
    """Unique among the living: 1 to 200 characters."""

    host: str = ""
    """Where it runs."""

    name: str = ""
    """What its operator calls it, such as a pod's name."""


class ReplicaState(StrEnum):
    """What a replica does with the version that a reference names."""

    WATCHING = "watching"
    """It has not started on anything."""

    DOWNLOADING = "downloading"
    """It fetches the candidate's files."""

    LOADING = "loading"
    """It loads, warms up or validates the candidate."""

    SERVING = "serving"
    """It serves the version."""

    FAILED = "failed"
    """The candidate failed; what was served before still is."""

    STOPPED = "stopped"
    """It ends, and counts nowhere from then on; only reported, never listed."""


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What a replica last said of one reference."""

    replica: Replica
    reference: str
    state: ReplicaState

    version: int | None = None
    """The version that the state is about: the candidate, or the one served; None if neither."""

    serving_version: int | None = None
    """The version that answers requests now; None if none does."""

    serving_digest: str = ""
    """The digest of the version that answers requests now."""

    failure: str = ""
    """Why the candidate failed, for people."""

    reported_at: datetime | None = None
    """When it was said; set by the server."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How far a reference has reached the fleet."""

    reference: str

    target_version: int | None
    """The version the reference names now; None if none."""

    replica_count: int
    """Live replicas that watch the reference."""

    converged_count: int
    """Of these, how many serve the target."""

    failed_count: int
    """How many failed on the target."""

    pending_count: int
    """How many are downloading or loading the target, or have not started."""

    failures: tuple[ReplicaReport, ...]
    """Reports of replicas that failed on the target, 100 at most."""

    serving_counts: Mapping[int, int]
    """How many serve which version; 0 stands for none."""

    @property
    def converged(self) -> bool:
        """Whether there are live replicas and every one of them serves the target."""
        return 0 < self.replica_count == self.converged_count
