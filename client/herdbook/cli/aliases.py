"""Commands about aliases."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

import typer

from herdbook.cli.options import ExpectOption, LimitOption, ModelArgument, ReasonOption
from herdbook.cli.output import limited
from herdbook.cli.panels import REGISTRY
from herdbook.cli.session import Session, command
from herdbook.cli.texts import age, moment, one_line, version_text
from herdbook.core.references import Reference, Selector, parse_reference
from herdbook.core.values import Alias, AliasMove
from herdbook.errors import AliasNotFound, ErrorDetails

_COLUMNS = ("ALIAS", "VERSION", "MOVED", "BY")
HISTORY_COLUMNS = ("REVISION", "TIME", "ALIAS", "FROM", "TO", "BY", "REASON")

AliasArgument = Annotated[
    str, typer.Argument(metavar="MODEL@ALIAS", help="The alias.", show_default=False)
]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    aliases = typer.Typer(
        help="Move aliases, roll them back, read their history.", no_args_is_help=True
    )
    sets = (
        "herdbook alias set fraud/tc@champion 7 -m 'passed the canary'",
        "herdbook alias set fraud/tc@champion 7 --expect 6",
        "herdbook alias set fraud/tc@champion @challenger",
    )
    command(aliases, "set", examples=sets)(set_alias)
    command(aliases, "rm", examples=("herdbook alias rm fraud/tc@shadow",))(remove_alias)
    command(aliases, "ls", examples=("herdbook alias ls fraud/tc",))(list_aliases)
    histories = (
        "herdbook alias history fraud/tc@champion",
        "herdbook alias history fraud/tc --json",
    )
    command(aliases, "history", examples=histories)(show_history)
    rollbacks = ("herdbook alias rollback fraud/tc@champion -m 'error rate doubled'",)
    command(aliases, "rollback", examples=rollbacks)(roll_back)
    app.add_typer(aliases, name="alias", rich_help_panel=REGISTRY)


def set_alias(
    session: Session,
    alias: AliasArgument,
    version: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            help="A number, a label, another @ALIAS of the model, or a whole reference.",
            show_default=False,
        ),
    ],
    *,
    expect: ExpectOption = None,
    reason: ReasonOption = None,
) -> None:
    """Point an alias at a version, atomically; creates the alias if need be."""
    reference = parse_alias(alias)
    number = _version_number(session, reference.model, version)
    moved = session.client.set_alias(
        reference.model, reference.value, number, expect=expect, reason=reason
    )
    _tell(session, moved)


def roll_back(
    session: Session,
    alias: AliasArgument,
    *,
    expect: ExpectOption = None,
    reason: ReasonOption = None,
) -> None:
    """Point an alias back at what it pointed at before its last move; again goes further back."""
    reference = parse_alias(alias)
    moved = session.client.rollback_alias(
        reference.model, reference.value, expect=expect, reason=reason
    )
    _tell(session, moved)


def remove_alias(
    session: Session,
    alias: AliasArgument,
    *,
    expect: ExpectOption = None,
    reason: ReasonOption = None,
) -> None:
    """Remove an alias; its history stays."""
    reference = parse_alias(alias)
    version = session.client.delete_alias(
        reference.model, reference.value, expect=expect, reason=reason
    )
    if session.output.as_json:
        removed = {"model": reference.model, "alias": reference.value, "previous_version": version}
        session.output.document(removed)
        return
    session.output.say(f"Removed {reference}, which pointed at version {version}.")


def list_aliases(session: Session, model: ModelArgument) -> None:
    """List the aliases of a model."""
    aliases = session.client.list_aliases(model)
    if session.output.as_json:
        session.output.documents(aliases)
        return
    rows = ((a.alias, str(a.version), moment(a.moved_at), a.moved_by) for a in aliases)
    session.output.table(_COLUMNS, rows, empty="It has no aliases.")


def show_history(
    session: Session,
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@ALIAS]", help="One alias, or all of a model.", show_default=False
        ),
    ],
    *,
    limit: LimitOption = None,
) -> None:
    """Show who moved aliases when, why, from where to where; the newest move first."""
    model, _, alias = target.partition("@")
    moves = session.client.alias_history(model, alias or None)
    if alias:
        moves = _some(moves, never=target)
    output = session.output
    if output.as_json:
        output.documents(limited(moves, limit or 0, output))
        return
    shown = limited(moves, 50 if limit is None else limit, output)
    output.table(HISTORY_COLUMNS, map(history_row, shown), empty="It never moved.")


def history_row(move: AliasMove) -> tuple[str, ...]:
    """Writes a move as a row of the history."""
    return (
        str(move.revision),
        age(move.time),
        move.alias,
        version_text(move.from_version),
        "removed" if move.to_version is None else version_text(move.to_version),
        move.actor,
        one_line(("(rollback) " if move.rollback else "") + move.reason),
    )


def _some(moves: Iterator[AliasMove], *, never: str) -> Iterator[AliasMove]:
    """Gives the moves of an alias; that there are none means that it never existed."""
    first = next(moves, None)
    if first is None:
        details = ErrorDetails(resource_type="alias", resource_name=never)
        raise AliasNotFound(f"There never was an alias {never}.", details=details)
    return chain([first], moves)


def parse_alias(text: str) -> Reference:
    """Reads `model@alias`."""
    reference = parse_reference(text)
    if reference.selector is not Selector.ALIAS:
        raise typer.BadParameter(f"{text!r} is not of the form MODEL@ALIAS")
    return reference


def _version_number(session: Session, model: str, text: str) -> int:
    """Finds the number of the version that the text names in the model."""
    if text.isdecimal():
        return int(text)
    if text.startswith(("@", ":")):
        return session.client.resolve(model + text).version
    if text.startswith((f"{model}@", f"{model}:", "models:/")) or text == model:
        resolution = session.client.resolve(text)
        if resolution.model == model:
            return resolution.version
        raise typer.BadParameter(f"{text!r} is a version of another model")
    return session.client.resolve(f"{model}:{text}").version


def _tell(session: Session, moved: Alias) -> None:
    if session.output.as_json:
        session.output.document(moved)
        return
    name = f"{moved.model}@{moved.alias}"
    if moved.previous_version == moved.version:
        session.output.say(f"{name} points at version {moved.version} already.")
        return
    before = (
        f"; before: {moved.previous_version}" if moved.previous_version else "; it is a new alias"
    )
    session.output.say(f"{name} points at version {moved.version} now{before}.")
