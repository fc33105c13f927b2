"""The grammar of names and references."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from herdbook.core.values.registry import Stage
from herdbook.errors import AliasInvalid, LabelInvalid, NameInvalid, ReferenceInvalid

MAX_NAME_CHARACTERS: Final = 200
MAX_ALIAS_CHARACTERS: Final = 255
MAX_LABEL_CHARACTERS: Final = 128
MAX_VERSION: Final = 2**31 - 1

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,3}}")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_RESERVED_ALIAS = re.compile(r"latest|v[0-9]+", re.IGNORECASE)
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
# The grammar of https://semver.org, version 2.0.0.
_LABEL = re.compile(
    r"(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)"
    rf"(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_MLFLOW = "models:/"
_MLFLOW_STAGES = {stage.value: stage for stage in Stage}


class Selector(Enum):
    """How a reference picks a version of its model."""

    NEWEST = "newest"
    NUMBER = "number"
    LABEL = "label"
    ALIAS = "alias"
    STAGE = "stage"


@dataclass(frozen=True, slots=True)
class Reference:
    """Names one version of a model."""

    model: str
    selector: Selector = Selector.NEWEST

    value: str = ""
    """The number, label, alias or stage; empty for the newest."""

    def __str__(self) -> str:
        """Spells it so that it parses back to itself."""
        match self.selector:
            case Selector.NEWEST:
                return self.model
            case Selector.ALIAS:
                return f"{self.model}@{self.value}"
            case Selector.STAGE:
                return f"{_MLFLOW}{self.model}/{self.value}"
            case Selector.NUMBER | Selector.LABEL:
                return f"{self.model}:{self.value}"


def check_name(name: str) -> str:
    """Returns the model name.

    Raises:
        NameInvalid: It is none.
    """
    if len(name) > MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
        raise NameInvalid(
            f"{name[:MAX_NAME_CHARACTERS]!r} is no model name: 1 to 4 segments joined by '/', each "
            "of letters, digits, '.', '_' and '-' and starting with a letter or digit, "
            f"{MAX_NAME_CHARACTERS} characters at most."
        )
    return name


def check_alias(alias: str) -> str:
    """Returns the alias.

    Raises:
        AliasInvalid: It is none.
    """
    if len(alias) > MAX_ALIAS_CHARACTERS or not _ALIAS.fullmatch(alias):
        raise AliasInvalid(
            f"{alias[:MAX_ALIAS_CHARACTERS]!r} is no alias: letters, digits, '_' and '-', starting "
            f"with a letter or '_', {MAX_ALIAS_CHARACTERS} characters at most."
        )
    if _RESERVED_ALIAS.fullmatch(alias):
        raise AliasInvalid(f"{alias!r} cannot be an alias: it reads like a version.")
    return alias


def check_label(label: str) -> str:
    """Returns the label.

    Raises:
        LabelInvalid: It is no semantic version.
    """
    if len(label) > MAX_LABEL_CHARACTERS or not _LABEL.fullmatch(label):
        raise LabelInvalid(
            f"{label[:MAX_LABEL_CHARACTERS]!r} is no semantic version such as 2.1.0."
        )
    return label


def parse_reference(text: str) -> Reference:
    """Parses a reference, in the native forms or in MLflow's.

    `team/task@champion`, `team/task:7`, `team/task:2.1.0` and `team/task`; `models:/name/7`,
    `models:/name@alias`, `models:/name/Production` and `models:/name/latest`.

    Raises:
        ReferenceInvalid: It is none of these.
    """
    try:
        return (
            _parse_mlflow(text[len(_MLFLOW) :]) if text.startswith(_MLFLOW) else _parse_native(text)
        )
    except (NameInvalid, AliasInvalid, LabelInvalid) as error:
        raise ReferenceInvalid(f"{text[:500]!r} is no reference: {error}") from None


def names_a_model(target: str) -> bool:
    """Whether a target is a bare model name, and not a reference to one of its versions."""
    return "@" not in target and ":" not in target


def _parse_native(text: str) -> Reference:
    model, at, alias = text.partition("@")
    if at:
        return Reference(check_name(model), Selector.ALIAS, check_alias(alias))
    model, colon, version = text.partition(":")
    if colon:
        return _numbered_or_labelled(check_name(model), version)
    return Reference(check_name(text))


def _numbered_or_labelled(model: str, version: str) -> Reference:
    if _NUMBER.fullmatch(version) and int(version) <= MAX_VERSION:
        return Reference(model, Selector.NUMBER, version)
    return Reference(model, Selector.LABEL, check_label(version))


def _parse_mlflow(text: str) -> Reference:
    model, at, alias = text.partition("@")
    if at:
        return Reference(check_name(model), Selector.ALIAS, check_alias(alias))
    model, slash, last = text.rpartition("/")
    if not slash:
        raise ReferenceInvalid(f"'{_MLFLOW}{text[:200]}' lacks a version, a stage or an alias.")
    if last.lower() == "latest":
        return Reference(check_name(model))
    stage = _MLFLOW_STAGES.get(last.lower())
    if stage is not None:
        return Reference(check_name(model), Selector.STAGE, stage.value)
    return _numbered_or_labelled(check_name(model), last)
