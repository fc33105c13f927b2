"""What the live model's machine is told, and what it commands."""

from __future__ import annotations

from dataclasses import dataclass

from herdbook.core.values.fleet import ReplicaState
from herdbook.core.values.registry import Resolution


@dataclass(frozen=True, slots=True)
class Named:
    """Input: the registry says what the reference names."""

    resolution: Resolution | None
    """The version; None if the reference names none."""

    missing_reason: str = ""
    """Why it names none."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Input: the registry said something."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Input: the registry cannot be reached, or does not answer."""

    error: BaseException
    transient: bool
    """Whether trying again may help."""


@dataclass(frozen=True, slots=True)
class Done:
    """Input: the step under way is done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Input: the step under way failed."""

    error: BaseException
    transient: bool
    """Whether trying again soon may help."""

    activity: str = ""
    """What exactly was being done, such as `validation`; empty: what the step is called."""

    jitter: float = 1.0
    """A random number between 0 and 1 that spreads the retries of a fleet."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Input: somebody wants one version, whatever the reference names."""

    resolution: Resolution | None
    """The version; None: what the reference names."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Input: somebody wants what serves to stay, or no longer."""

    paused: bool


@dataclass(frozen=True, slots=True)
class Refresh:
    """Input: somebody wants what has failed to be tried again now."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Input: time has passed."""


@dataclass(frozen=True, slots=True)
class Close:
    """Input: nothing more is wanted."""


Input = Named | Contact | Lost | Done | Failed | Pin | Pause | Refresh | Tick | Close


@dataclass(frozen=True, slots=True)
class Fetch:
    """Command: bring the version's files into the cache. Slow."""

    resolution: Resolution


@dataclass(frozen=True, slots=True)
class CancelFetch:
    """Command: end the fetch that is under way; Done or Failed answers it all the same."""


@dataclass(frozen=True, slots=True)
class Load:
    """Command: load, warm up and validate what was fetched. Slow."""

    resolution: Resolution


@dataclass(frozen=True, slots=True)
class Unload:
    """Command: drain and close the model that serves. Slow.

    If it does not drain, it serves on, and the answer is Failed.
    """


@dataclass(frozen=True, slots=True)
class Swap:
    """Command: let what was loaded serve."""

    resolution: Resolution


@dataclass(frozen=True, slots=True)
class Remember:
    """Command: record the version as the one to start with while the registry is down."""

    resolution: Resolution


@dataclass(frozen=True, slots=True)
class Retire:
    """Command: drain and close the model that served before. Slow."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Command: close what was loaded and let go of what was fetched; it will not serve."""


@dataclass(frozen=True, slots=True)
class Report:
    """Command: tell the registry."""

    state: ReplicaState
    version: int
    serving: Resolution | None
    failure: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Command: there is no first model and waiting will not bring one."""

    error: BaseException | None
    """Why; None if the reference names no version."""


Slow = Fetch | Load | Unload | Retire
"""Commands that Done or Failed answers."""

Command = Slow | CancelFetch | Swap | Remember | Discard | Report | GiveUp
