"""Commands that describe, tag, stage, delete and restore models and versions."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from herdbook.cli.models import tags_text
from herdbook.cli.options import (
    ForceOption,
    ReasonOption,
    ReferenceArgument,
    TargetArgument,
    YesOption,
    pairs_of,
)
from herdbook.cli.panels import REGISTRY
from herdbook.cli.session import Session, command
from herdbook.core.references import names_a_model
from herdbook.core.values import Model, Stage, Version


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    edits = (
        "herdbook edit fraud/tc:7 --label 2.1.0",
        "herdbook edit fraud/tc:7 --description 'Trained on the March data'",
        "herdbook edit fraud/tc     # opens the description in $EDITOR",
    )
    command(app, "edit", examples=edits, panel=REGISTRY)(edit)
    deletes = ("herdbook delete fraud/tc:3 -m 'leaks the target'", "herdbook delete fraud/tc --yes")
    command(app, "delete", examples=deletes, panel=REGISTRY)(delete)
    command(app, "restore", examples=("herdbook restore fraud/tc:3",), panel=REGISTRY)(restore)
    app.add_typer(_stage_app(), name="stage", rich_help_panel=REGISTRY)
    app.add_typer(_tag_app(), name="tag", rich_help_panel=REGISTRY)


def _stage_app() -> typer.Typer:
    app = typer.Typer(help="Move versions through stages.", no_args_is_help=True)
    examples = (
        "herdbook stage set fraud/tc:7 staging",
        "herdbook stage set fraud/tc:7 production --archive-existing -m 'passed the canary'",
    )
    command(app, "set", examples=examples)(set_stage)
    return app


def _tag_app() -> typer.Typer:
    app = typer.Typer(help="Tag models and versions.", no_args_is_help=True)
    sets = (
        "herdbook tag set fraud/tc team=fraud",
        "herdbook tag set fraud/tc:7 reviewed=yes by=ana",
    )
    command(app, "set", examples=sets)(set_tags)
    command(app, "rm", examples=("herdbook tag rm fraud/tc:7 reviewed",))(remove_tags)
    return app


def edit(
    session: Session,
    target: TargetArgument,
    *,
    description: Annotated[
        str | None, typer.Option("--description", "-d", metavar="TEXT", help="In Markdown.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="2.1.0", help="A semantic version; once set it stays."),
    ] = None,
    reason: ReasonOption = None,
) -> None:
    """Change the description of a model or a version, or label a version."""
    if names_a_model(target):
        _edit_model(session, target, description=description, label=label, reason=reason)
    else:
        _edit_version(session, target, description=description, label=label, reason=reason)


def _edit_model(
    session: Session, name: str, *, description: str | None, label: str | None, reason: str | None
) -> None:
    if label is not None:
        raise typer.BadParameter(f"a version has a label, a model has none: {name}:NUMBER")
    revision = None
    if description is None:
        before = session.client.get_model(name)
        description, revision = _edited(before.description), before.revision
    model = session.client.update_model(
        name, description=description, expect_revision=revision, reason=reason
    )
    _tell(session, model, f"Changed {model.name}.")


def _edit_version(
    session: Session,
    reference: str,
    *,
    description: str | None,
    label: str | None,
    reason: str | None,
) -> None:
    version = session.client.get_version(reference)
    revision = None
    if description is None and label is None:
        description, revision = _edited(version.description), version.revision
    version = session.client.update_version(
        version.reference,
        description=description,
        label=label,
        expect_revision=revision,
        reason=reason,
    )
    _tell(session, version, f"Changed {version.reference}.")


def _edited(text: str) -> str:
    """Lets a person change a text in their editor.

    Raises:
        typer.Exit: The text was not changed, or the editor failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise typer.BadParameter(
            "give --description or --label, or set EDITOR to edit the description"
        )
    with tempfile.TemporaryDirectory(prefix="herdbook-") as directory:
        path = Path(directory, "description.md")
        path.write_text(text, encoding="utf-8")
        ended = subprocess.run([*shlex.split(editor), str(path)], check=False)  # noqa: S603 - the user's own editor
        changed = path.read_text(encoding="utf-8").rstrip("\n")
    if ended.returncode != 0 or changed == text.rstrip("\n"):
        typer.echo("Nothing changed.", err=True)
        raise typer.Exit(ended.returncode and 1)
    return changed


def delete(
    session: Session,
    target: TargetArgument,
    *,
    force: ForceOption = False,
    yes: YesOption = False,
    reason: ReasonOption = None,
) -> None:
    """Delete a model or a version; `restore` brings it back."""
    if names_a_model(target):
        session.confirm(f"Delete {target} and all its versions?", yes=yes)
        model = session.client.delete_model(target, force=force, reason=reason)
        _tell(
            session, model, f"Deleted {model.name}; herdbook restore {model.name} brings it back."
        )
        return
    reference = session.client.get_version(target, show_deleted=True).reference
    session.confirm(f"Delete {reference}?", yes=yes)
    before = session.client.get_version(reference, show_deleted=True)
    session.client.delete_version(reference, force=force, reason=reason)
    version = session.client.get_version(reference, show_deleted=True)
    back = "the version alone" if before.aliases else "it"
    deleted = " and ".join((reference, *(f"alias {alias}" for alias in before.aliases)))
    _tell(session, version, f"Deleted {deleted}; herdbook restore {reference} brings {back} back.")


def restore(session: Session, target: TargetArgument, *, reason: ReasonOption = None) -> None:
    """Bring a deleted model or version back."""
    if names_a_model(target):
        model = session.client.restore_model(target, reason=reason)
        _tell(session, model, f"Restored {model.name}.")
        return
    version = session.client.restore_version(target, reason=reason)
    _tell(session, version, f"Restored {version.reference}.")


def set_stage(
    session: Session,
    reference: ReferenceArgument,
    stage: Annotated[
        Stage, typer.Argument(help="The stage.", case_sensitive=False, show_default=False)
    ],
    *,
    archive_existing: Annotated[
        bool,
        typer.Option(
            "--archive-existing", help="Archive what is in that stage now, in the same transaction."
        ),
    ] = False,
    reason: ReasonOption = None,
) -> None:
    """Move a version to a stage."""
    change = session.client.set_stage(
        reference, stage, archive_existing=archive_existing, reason=reason
    )
    if session.output.as_json:
        session.output.document(change)
        return
    session.output.say(f"{change.version.reference} is in {change.version.stage.value} now.")
    for number in change.archived_versions:
        session.output.say(f"{change.version.model}:{number} is archived.")


def set_tags(
    session: Session,
    target: TargetArgument,
    tags: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE…", help="The tags.", show_default=False)
    ],
    *,
    reason: ReasonOption = None,
) -> None:
    """Set tags; the others stay as they are."""
    tagged: Model | Version | None = None
    target = _pinned(session, target)
    for key, value in pairs_of(tags).items():
        tagged = session.client.set_tag(target, key, value, reason=reason)
    _tell_tags(session, tagged)


def remove_tags(
    session: Session,
    target: TargetArgument,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY…", help="The tags' keys.", show_default=False)
    ],
    *,
    reason: ReasonOption = None,
) -> None:
    """Remove tags; those that are not there are no error."""
    tagged: Model | Version | None = None
    target = _pinned(session, target)
    for key in keys:
        tagged = session.client.delete_tag(target, key, reason=reason)
    _tell_tags(session, tagged)


def _pinned(session: Session, target: str) -> str:
    """Names the same thing for all calls of one command."""
    return target if names_a_model(target) else session.client.resolve(target).reference


def _tell_tags(session: Session, tagged: Model | Version | None) -> None:
    if tagged is None:
        return
    name = tagged.name if isinstance(tagged, Model) else tagged.reference
    _tell(session, tagged, f"Tags of {name}: {tags_text(dict(tagged.tags)) or 'none'}")


def _tell(session: Session, value: Model | Version, sentence: str) -> None:
    if session.output.as_json:
        session.output.document(value)
    else:
        session.output.say(sentence)
