"""What a live model is told once."""

from __future__ import annotations

from dataclasses import dataclass

from herdbook.core.values import Replica
from herdbook.live.machine import LivePolicy


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What to follow, as whom, and how patiently."""

    reference: str
    replica: Replica
    policy: LivePolicy

    load_timeout_seconds: float
    """How long a candidate may take to be loaded, warmed up and validated."""

    drain_timeout_seconds: float
    """How long a model that is replaced is waited for."""
