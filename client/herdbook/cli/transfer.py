"""Commands about bytes: push, pull, verify, and the collection of garbage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from herdbook.cli.descriptions import (
    DescriptionFileError,
    lineage_of,
    read_json,
    signature_of,
)
from herdbook.cli.exits import ExitCode
from herdbook.cli.options import (
    ModelArgument,
    ReasonOption,
    ReferenceArgument,
    metrics_of,
    pairs_of,
    parse_duration,
)
from herdbook.cli.panels import FILES, SERVER
from herdbook.cli.progress import transfer_progress, verification_progress
from herdbook.cli.session import Session, command
from herdbook.cli.texts import size_text, transfer_text
from herdbook.core.values import GarbageReport, Version

ORIGIN = "Origin"
Texts = list[str] | None


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    pushes = (
        "herdbook push fraud/tc ./model --metric rmse=6.1 --param depth=4 --tag team=fraud",
        "herdbook push fraud/tc ./model --label 2.1.0 --alias challenger",
        "herdbook push fraud/tc --source-uri s3://bucket/models/tc",
    )
    command(app, "push", examples=pushes, panel=FILES)(push)
    pulls = (
        "herdbook pull fraud/tc@champion ./model",
        "herdbook pull fraud/tc:7 ./model --overwrite",
    )
    command(app, "pull", examples=pulls, panel=FILES)(pull)
    verifications = (
        "herdbook verify fraud/tc@champion",
        "herdbook verify fraud/tc:7 --path ./model",
        "herdbook verify --all",
    )
    command(app, "verify", examples=verifications, panel=SERVER)(verify)
    collections = (
        "herdbook gc",
        "herdbook gc --apply --grace 48h",
        "herdbook gc --apply --call-timeout 1h",
    )
    command(app, "gc", examples=collections, panel=SERVER)(collect_garbage)


def push(
    session: Session,
    model: ModelArgument,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="A file or a directory.", show_default=False),
    ] = None,
    *,
    metric: Annotated[
        Texts, typer.Option("--metric", metavar="KEY=NUMBER", help="A measured figure; repeat.")
    ] = None,
    param: Annotated[
        Texts, typer.Option("--param", metavar="KEY=VALUE", help="A training parameter; repeat.")
    ] = None,
    tag: Annotated[Texts, typer.Option("--tag", metavar="KEY=VALUE", help="A tag; repeat.")] = None,
    alias: Annotated[
        Texts,
        typer.Option("--alias", metavar="ALIAS", help="Point it here, in the same step; repeat."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="2.1.0", help="A semantic version.")
    ] = None,
    description: Annotated[
        str, typer.Option("--description", "-d", metavar="TEXT", help="In Markdown.")
    ] = "",
    source_uri: Annotated[
        str | None,
        typer.Option(
            "--source-uri", metavar="URI", help="Register files that stay where they are."
        ),
    ] = None,
    framework: Annotated[
        str,
        typer.Option(
            "--framework", metavar="NAME", help="Such as scikit-learn.", rich_help_panel=ORIGIN
        ),
    ] = "",
    format: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="Such as joblib or onnx.", rich_help_panel=ORIGIN
        ),
    ] = "",
    author: Annotated[
        str | None,
        typer.Option(
            "--author", metavar="NAME", help="Else who runs this.", rich_help_panel=ORIGIN
        ),
    ] = None,
    run_id: Annotated[
        str,
        typer.Option("--run-id", metavar="ID", help="The training run.", rich_help_panel=ORIGIN),
    ] = "",
    run_url: Annotated[
        str,
        typer.Option("--run-url", metavar="URL", help="The run's page.", rich_help_panel=ORIGIN),
    ] = "",
    dataset: Annotated[
        Texts,
        typer.Option(
            "--dataset",
            metavar="NAME[=URI]",
            help="A data set used; repeat.",
            rich_help_panel=ORIGIN,
        ),
    ] = None,
    parent: Annotated[
        Texts,
        typer.Option(
            "--parent",
            metavar="REF",
            help="A version it was made from; repeat.",
            rich_help_panel=ORIGIN,
        ),
    ] = None,
    training_time: Annotated[
        float | None,
        typer.Option(
            "--training-time",
            metavar="DURATION",
            parser=parse_duration,
            help="How long it was trained.",
            rich_help_panel=ORIGIN,
        ),
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option(
            "--signature",
            metavar="FILE",
            help='JSON: {"inputs": [{"name", "dtype", "shape", "optional"}], "outputs", "params"}.',
            rich_help_panel=ORIGIN,
        ),
    ] = None,
    input_example: Annotated[
        Path | None,
        typer.Option(
            "--input-example", metavar="FILE", help="An input, in JSON.", rich_help_panel=ORIGIN
        ),
    ] = None,
    no_capture: Annotated[
        bool,
        typer.Option(
            "--no-capture",
            help="Do not find out git commit, environment and author.",
            rich_help_panel=ORIGIN,
        ),
    ] = False,
    reason: ReasonOption = None,
) -> None:
    """Make the next version of a model from a file or a directory.

    Only bytes that the model does not have yet are sent, and the version appears whole or not at
    all. After a break run it again: what has arrived is not sent again.
    """
    about: dict[str, Any] = {
        "metrics": metrics_of(metric),
        "params": pairs_of(param),
        "tags": pairs_of(tag),
        "description": description,
        "label": label,
        "author": author,
        "framework": framework,
        "format": format,
        "lineage": lineage_of(
            run_id=run_id,
            run_url=run_url,
            datasets=dataset or [],
            parents=parent or [],
            training_seconds=training_time,
        ),
        "alias": alias or [],
        "capture": not no_capture,
        "reason": reason,
    }
    try:
        about["signature"] = signature_of(read_json(signature)) if signature else None
        about["input_example"] = read_json(input_example) if input_example else None
    except DescriptionFileError as error:
        raise typer.BadParameter(str(error)) from None
    _tell(session, _registered(session, model, path=path, source_uri=source_uri, about=about))


def _registered(
    session: Session,
    model: str,
    *,
    path: Path | None,
    source_uri: str | None,
    about: dict[str, Any],
) -> Version:
    if (path is None) == (source_uri is None):
        raise typer.BadParameter("give a PATH to push, or --source-uri, and not both")
    if source_uri is not None:
        return session.client.register_reference(model, source_uri, **about)
    assert path is not None  # noqa: S101 - one of the two is given
    with transfer_progress(session.output, f"Pushing {model}") as progress:
        return session.client.push(model, path, progress=progress, **about)


def _tell(session: Session, version: Version) -> None:
    if session.output.as_json:
        session.output.document(version)
        return
    aliases = f" ({', '.join(f'@{alias}' for alias in version.aliases)})" if version.aliases else ""
    session.output.say(f"Registered {version.reference}{aliases}.")
    if version.transfer is not None:
        session.output.note(transfer_text(version.transfer))


def pull(
    session: Session,
    reference: ReferenceArgument,
    destination: Annotated[
        Path,
        # Of a directory that it may not read, the pull tells.
        typer.Argument(
            metavar="DIR", help="Where to put the files.", readable=False, show_default=False
        ),
    ],
    *,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the directory holds.")
    ] = False,
) -> None:
    """Put the files of a version into a directory, every byte verified.

    What the local cache has is not fetched again. The directory appears whole or not at all.
    """
    with transfer_progress(session.output, f"Pulling {reference}") as progress:
        pulled = session.client.pull(reference, destination, overwrite=overwrite, progress=progress)
    if session.output.as_json:
        session.output.document(pulled)
        return
    session.output.say(f"{pulled.model}:{pulled.version} is in {pulled.path}.")
    session.output.note(transfer_text(pulled.transfer))


def verify(
    session: Session,
    reference: Annotated[
        str | None,
        typer.Argument(metavar="REF", help="Which version.", show_default=False),
    ] = None,
    *,
    path: Annotated[
        Path | None,
        typer.Option("--path", metavar="DIR", help="Compare this directory with the version."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that the registry holds, which may take long.")
    ] = False,
) -> None:
    """Look whether the registry still holds what it should, or a directory what a version has.

    The server reads and hashes what it holds. What is lost can be pushed again, which heals it. The
    exit code is 9 if something is lost or differs.
    """
    if (reference is None) != everything:
        raise typer.BadParameter("give a version to verify, or --all, and not both")
    if path is not None:
        if reference is None:
            raise typer.BadParameter("--path goes with a version, not with --all")
        _verify_copy(session, reference, path)
        return
    with verification_progress(session.output) as progress:
        report = session.client.verify(reference, progress=progress)
    if session.output.as_json:
        session.output.document(report)
    else:
        rows = [(c.sha256, size_text(c.size_bytes), ", ".join(c.versions)) for c in report.lost]
        chunks = "chunk" if report.checked_count == 1 else "chunks"
        checked = f"{report.checked_count} {chunks}, {size_text(report.checked_bytes)}"
        session.output.say(f"Verified {checked}; {len(rows) or 'none'} lost.")
        if rows:
            session.output.table(("LOST CHUNK", "SIZE", "OF"), rows)
    if report.lost:
        raise typer.Exit(ExitCode.DAMAGED)


def _verify_copy(session: Session, reference: str, path: Path) -> None:
    report = session.client.verify_copy(reference, path)
    if session.output.as_json:
        session.output.document(report)
    elif report.whole:
        session.output.say(f"{path} holds exactly {reference}.")
    else:
        kinds = {"missing": report.missing, "damaged": report.damaged, "foreign": report.foreign}
        rows = [(kind, name) for kind, names in kinds.items() for name in names]
        session.output.table(("WHAT", "FILE"), rows)
    if not report.whole:
        raise typer.Exit(ExitCode.DAMAGED)


def collect_garbage(
    session: Session,
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Delete what is found; otherwise only count it.")
    ] = False,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace",
            metavar="DURATION",
            parser=parse_duration,
            help="Spare what was touched more recently; never less than the server is set to.",
        ),
    ] = None,
) -> None:
    """Find chunks that no version lists, and delete them on request.

    Versions that were deleted longer ago than the server keeps them lose their files before.
    """
    report = session.client.collect_garbage(apply=apply, grace_seconds=grace)
    if session.output.as_json:
        session.output.document(report)
        return
    for sentence in _of_garbage(report):
        session.output.say(sentence)


def _of_garbage(report: GarbageReport) -> Iterator[str]:
    versions = f"{report.purged_version_count} versions that were deleted long ago"
    chunks = f"{report.chunk_count} chunks, {size_text(report.size_bytes)}"
    if not report.purged_version_count and not report.chunk_count:
        yield (
            "There is no garbage. The server spares what nothing lists for its grace time, and the "
            "files of what was deleted for its retention: 24 h and 30 days, unless set otherwise."
        )
    elif report.deleted:
        if report.purged_version_count:
            yield f"Purged {versions}."
        yield f"Deleted {chunks}."
    else:
        if report.purged_version_count:
            yield f"Would purge {versions}; what only they list comes on top."
        yield f"Would delete {chunks}; --apply does it."
