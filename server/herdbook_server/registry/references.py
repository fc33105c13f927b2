"""The grammar of references."""

from __future__ import annotations

import re

from herdbook_server.errors import NameInvalid, ReferenceInvalid
from herdbook_server.ports.references import (
    ByAlias,
    ByLabel,
    ByNumber,
    Newest,
    NewestInStage,
    Reference,
)
from herdbook_server.ports.values import Stage
from herdbook_server.registry import rules

REFERENCE_MAX_CHARACTERS = 1024
MLFLOW_SCHEME = "models:/"

_NUMBER = re.compile(r"[1-9][0-9]{0,9}")


def parse_reference(text: str, *, field: str = "reference") -> Reference:
    """What a reference names.

    Takes `team/task@champion`, `team/task:7`, `team/task:2.1.0`, `team/task`, and MLflow's
    `models:/team/task/7`, `models:/team/task@champion`, `models:/team/task/Production` and
    `models:/team/task/latest`, whose stages and `latest` are matched in any case.

    Raises:
        ReferenceInvalid: It is none of these.
    """
    if not text:
        raise _refused("A reference is required, such as team/task@champion.", field)
    if len(text) > REFERENCE_MAX_CHARACTERS:
        raise _refused(f"A reference has {REFERENCE_MAX_CHARACTERS} characters at most.", field)
    if text.startswith(MLFLOW_SCHEME):
        return _parse_mlflow(text.removeprefix(MLFLOW_SCHEME), field)
    return _parse(text, field)


def parse_fixed_reference(text: str, *, field: str = "reference") -> ByNumber | ByLabel:
    """The same for calls that edit or delete, which a moving alias must not lead astray.

    Raises:
        ReferenceInvalid: It cannot be parsed, or is not by number or label.
    """
    reference = parse_reference(text, field=field)
    if not isinstance(reference, ByNumber | ByLabel):
        raise _refused(
            f"{rules.shown(text)} may name another version tomorrow: "
            f"name this one by number or label, such as {reference.model}:7.",
            field,
        )
    return reference


def _parse(text: str, field: str) -> Reference:
    model, separator, alias = text.partition("@")
    if separator:
        return _by_alias(model, alias, field)
    model, separator, which = text.partition(":")
    _check_model(model, field)
    if not separator:
        return Newest(model)
    number = _number(which)
    if number is not None:
        return ByNumber(model, number)
    if rules.is_label(which):
        return ByLabel(model, which)
    raise _refused(_neither_number_nor_label(model, which), field)


def _parse_mlflow(text: str, field: str) -> Reference:
    model, separator, alias = text.partition("@")
    if separator:
        return _by_alias(model, alias, field)
    model, _, which = text.rpartition("/")
    if not model:
        raise _refused(
            "After the model's name, MLflow's form names a version, such as models:/task/7.", field
        )
    _check_model(model, field)
    number = _number(which)
    if number is not None:
        return ByNumber(model, number)
    if which.lower() == "latest":
        return Newest(model)
    if which.lower() in set(Stage):
        return NewestInStage(model, Stage(which.lower()))
    raise _refused(
        f"{rules.shown(which)} is no version's number, no stage and not 'latest'; "
        f"an alias is written {MLFLOW_SCHEME}{model}@alias.",
        field,
    )


def _by_alias(model: str, alias: str, field: str) -> ByAlias:
    _check_model(model, field)
    problem = rules.alias_problem(alias)
    if problem:
        raise _refused(problem, field)
    return ByAlias(model, alias)


def _check_model(model: str, field: str) -> None:
    try:
        rules.check_name(model, field=field)
    except NameInvalid as error:
        raise ReferenceInvalid(error.message, fields=error.fields) from None


def _number(text: str) -> int | None:
    if not _NUMBER.fullmatch(text) or int(text) > rules.NUMBER_MAX:
        return None
    return int(text)


def _neither_number_nor_label(model: str, which: str) -> str:
    if which.lower() == "latest":
        return f"The newest version is named by the model alone: {model}."
    if not rules.alias_problem(which):
        return (
            f"{rules.shown(which)} is no number and no label; an alias is written {model}@{which}."
        )
    return f"{rules.shown(which)} is no version's number and no label such as 2.1.0."


def _refused(description: str, field: str) -> ReferenceInvalid:
    return rules.refuse(ReferenceInvalid, field, description)
