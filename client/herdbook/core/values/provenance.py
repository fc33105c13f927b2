"""What a version expects, where it came from and what it was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What JSON can say."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input, output or parameter of a model."""

    name: str
    """Its name; may be empty if there is one only."""

    dtype: str
    """Element type in numpy's names: `float32`, `str`, `bool`, `datetime64[ns]`, `object` …"""

    shape: tuple[int, ...] = ()
    """Dimensions, -1 for any size; empty for a scalar."""

    optional: bool = False
    """May be left out by the caller."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What goes in and comes out of a model."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    params: tuple[TensorSpec, ...] = ()
    """Parameters of inference, such as a temperature."""


@dataclass(frozen=True, slots=True)
class Code:
    """A state of a code repository."""

    repository: str = ""
    """Where it is cloned from."""

    commit: str = ""
    """The commit's full hash."""

    dirty: bool = False
    """There were uncommitted changes."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set."""

    name: str

    uri: str = ""
    """Where it lies."""

    digest: str = ""
    """Its digest, in any scheme."""

    version: str = ""
    """Its version, in any scheme."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version came from."""

    run_id: str = ""
    """The training run's id."""

    run_url: str = ""
    """The training run's page."""

    code: Code | None = None
    """The code it was trained with."""

    datasets: tuple[Dataset, ...] = ()
    """The data it was trained and tested on."""

    parents: tuple[str, ...] = ()
    """References of the versions it was made from, such as `team/base:3`."""

    training_seconds: float | None = None
    """How long the training took."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a version was made with."""

    python: str = ""
    """Version of Python, such as `3.11.7`."""

    packages: Mapping[str, str] = field(default_factory=dict)
    """Installed packages and their versions."""

    platform: str = ""
    """Operating system and architecture, such as `Linux-6.1-x86_64`."""

    hardware: str = ""
    """Processors and accelerators."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What a push finds out by itself, unless it is told."""

    code: bool = True
    """Repository, commit and dirty flag of the git work tree that the process runs in."""

    environment: bool = True
    """Python, installed packages, platform and hardware."""

    author: bool = True
    """The user who runs the process."""

    @classmethod
    def switched(cls, capture: Capture | bool) -> Capture:  # noqa: FBT001  # as `push` takes it
        """Returns `capture`, with True and False standing for all and nothing."""
        if isinstance(capture, Capture):
            return capture
        return cls(code=capture, environment=capture, author=capture)
