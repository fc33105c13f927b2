"""References: the ways to name one version."""

from __future__ import annotations

from dataclasses import dataclass

from herdbook_server.ports.values import Stage


@dataclass(frozen=True, slots=True)
class ByAlias:
    """`team/task@champion`."""

    model: str
    alias: str


@dataclass(frozen=True, slots=True)
class ByNumber:
    """`team/task:7`."""

    model: str
    number: int


@dataclass(frozen=True, slots=True)
class ByLabel:
    """`team/task:2.1.0`."""

    model: str
    label: str


@dataclass(frozen=True, slots=True)
class Newest:
    """`team/task`: the newest version that is not deleted."""

    model: str


@dataclass(frozen=True, slots=True)
class NewestInStage:
    """`models:/name/Production`: the newest version in that stage."""

    model: str
    stage: Stage


Reference = ByAlias | ByNumber | ByLabel | Newest | NewestInStage
