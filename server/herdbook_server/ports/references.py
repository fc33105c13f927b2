"""References: the ways to name one version. `str()` of one gives its canonical spelling."""

from __future__ import annotations

from dataclasses import dataclass

from herdbook_server.ports.values import Stage


@dataclass(frozen=True, slots=True)
class ByAlias:
    """`team/task@champion`."""

    model: str
    alias: str

    def __str__(self) -> str:
        return f"{self.model}@{self.alias}"


@dataclass(frozen=True, slots=True)
class ByNumber:
    """`team/task:7`."""

    model: str
    number: int

    def __str__(self) -> str:
        return f"{self.model}:{self.number}"


@dataclass(frozen=True, slots=True)
class ByLabel:
    """`team/task:2.1.0`."""

    model: str
    label: str

    def __str__(self) -> str:
        return f"{self.model}:{self.label}"


@dataclass(frozen=True, slots=True)
class Newest:
    """`team/task`: the newest version that is not deleted."""

    model: str

    def __str__(self) -> str:
        return self.model


@dataclass(frozen=True, slots=True)
class NewestInStage:
    """`models:/name/Production`: the newest version in that stage that is not deleted."""

    model: str
    stage: Stage

    def __str__(self) -> str:
        return f"models:/{self.model}/{self.stage.value.capitalize()}"


Reference = ByAlias | ByNumber | ByLabel | Newest | NewestInStage
