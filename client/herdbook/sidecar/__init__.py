"""The sidecar: what keeps a directory current for model servers that are not Python."""

from __future__ import annotations

from herdbook.core.layouts import Layout
from herdbook.sidecar.directory import DirectoryInUse
from herdbook.sidecar.health import HealthServer
from herdbook.sidecar.hooks import (
    Call,
    Command,
    Hook,
    HookFailed,
    Hooks,
    News,
    Signal,
    parse_signal,
)
from herdbook.sidecar.sidecar import NotTakenUp, Sidecar

__all__ = [
    "Call",
    "Command",
    "DirectoryInUse",
    "HealthServer",
    "Hook",
    "HookFailed",
    "Hooks",
    "Layout",
    "News",
    "NotTakenUp",
    "Sidecar",
    "Signal",
    "parse_signal",
]
