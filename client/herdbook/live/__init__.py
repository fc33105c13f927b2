"""Live models: the version that a reference names, loaded and kept up to date."""

from __future__ import annotations

from herdbook.live.aio import AsyncLease, AsyncLiveModel
from herdbook.live.errors import (
    FirstLoadFailed,
    LeasesHeld,
    LoadTimedOut,
    NotServing,
    ValidationFailed,
)
from herdbook.live.held import Lease
from herdbook.live.model import LiveModel
from herdbook.live.status import LiveFailure, LiveState, LiveStatus

__all__ = [
    "AsyncLease",
    "AsyncLiveModel",
    "FirstLoadFailed",
    "Lease",
    "LeasesHeld",
    "LiveFailure",
    "LiveModel",
    "LiveState",
    "LiveStatus",
    "LoadTimedOut",
    "NotServing",
    "ValidationFailed",
]
