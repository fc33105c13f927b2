"""Commands that find, show and compare versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from herdbook.cli.models import PEOPLE_LIMIT, show_model, tags_text
from herdbook.cli.options import (
    DeletedOption,
    FilterOption,
    LimitOption,
    OrderByOption,
    TargetArgument,
)
from herdbook.cli.output import json_text, limited
from herdbook.cli.panels import REGISTRY
from herdbook.cli.session import Session, command
from herdbook.cli.texts import age, moment, number_text, one_line, size_text, value_text
from herdbook.core.references import names_a_model
from herdbook.core.values import (
    Comparison,
    Environment,
    Lineage,
    Signature,
    TensorSpec,
    Version,
    VersionManifest,
)

_COLUMNS = ("VERSION", "LABEL", "STAGE", "ALIASES", "METRICS", "SIZE", "CREATED", "AUTHOR")
_METRICS_IN_A_ROW = 3


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    versions = (
        "herdbook versions fraud/tc",
        "herdbook versions fraud/tc --filter 'metrics.rmse < 7' --order-by 'metrics.rmse asc' -n 1",
        "herdbook versions --filter 'stage = \"production\"' --json",
    )
    command(app, "versions", examples=versions, panel=REGISTRY)(list_versions)
    shows = (
        "herdbook show fraud/tc",
        "herdbook show fraud/tc@champion",
        "herdbook show fraud/tc:7 --files",
        "herdbook show fraud/tc@champion --json | jq .metrics",
    )
    command(app, "show", examples=shows, panel=REGISTRY)(show)
    compares = (
        "herdbook compare fraud/tc@champion fraud/tc@challenger",
        "herdbook compare fraud/tc:6 fraud/tc:7 fraud/tc:8 --all",
    )
    command(app, "compare", examples=compares, panel=REGISTRY)(compare)


def list_versions(
    session: Session,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Of which model; else of all.")
    ] = None,
    *,
    filter: FilterOption = None,
    order_by: OrderByOption = None,
    deleted: DeletedOption = False,
    limit: LimitOption = None,
) -> None:
    """List versions, the newest first unless sorted otherwise."""
    output = session.output
    found = session.client.list_versions(
        model, filter=filter, order_by=order_by, show_deleted=deleted
    )
    if output.as_json:
        output.documents(limited(found, limit or 0, output))
        return
    shown = limited(found, PEOPLE_LIMIT if limit is None else limit, output)
    output.table(_COLUMNS, map(_row, shown), empty="No versions found.")


def show(
    session: Session,
    target: TargetArgument,
    *,
    files: Annotated[bool, typer.Option("--files", help="List the version's files.")] = False,
    packages: Annotated[
        bool, typer.Option("--packages", help="List the packages it was made with.")
    ] = False,
    deleted: DeletedOption = False,
) -> None:
    """Show a model or a version: where it came from, what it holds, who points at it."""
    if names_a_model(target) and not (files or packages):
        show_model(session, target, deleted=deleted)
        return
    version = session.client.get_version(target, show_deleted=deleted)
    manifest = session.client.get_manifest(version.reference) if files else None
    if session.output.as_json:
        shown = version if manifest is None else {"version": version, "files": _listed(manifest)}
        session.output.document(shown)
        return
    session.output.fields(_fields(version, packages=packages))
    if manifest is not None:
        rows = [(file.path, size_text(file.size_bytes)) for file in manifest.manifest.files]
        session.output.table(("FILE", "SIZE"), rows)


def compare(
    session: Session,
    references: Annotated[
        list[str],
        typer.Argument(metavar="REF REF…", help="Which versions.", show_default=False),
    ],
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Also show the fields in which they agree.")
    ] = False,
) -> None:
    """Put versions side by side and show where they differ."""
    if len(references) < 2:  # noqa: PLR2004 - one version has nothing to differ from
        raise typer.BadParameter("give two references or more")
    comparison = session.client.compare(references)
    if session.output.as_json:
        session.output.document(_compared(comparison, every=every))
        return
    shown = comparison.fields if every else comparison.differences
    columns = ("FIELD", *(version.reference for version in comparison.versions))
    rows = [(row.field, *(value_text(value) for value in row.values)) for row in shown]
    session.output.table(columns, rows, empty="They do not differ.")


def _compared(comparison: Comparison, *, every: bool) -> object:
    shown = comparison.fields if every else comparison.differences
    return {
        "versions": [version.reference for version in comparison.versions],
        "fields": [
            {"field": row.field, "values": row.values, "differs": row.differs} for row in shown
        ],
    }


def _listed(manifest: VersionManifest) -> list[dict[str, object]]:
    return [
        {"path": file.path, "size_bytes": file.size_bytes, "chunk_count": len(file.chunks)}
        for file in manifest.manifest.files
    ]


def _fate(version: Version) -> str:
    if version.purged_at:
        return " (deleted, purged)"
    return " (deleted)" if version.deleted_at else ""


def _row(version: Version) -> tuple[str, ...]:
    return (
        version.reference + _fate(version),
        version.label or "",
        version.stage.value,
        ", ".join(version.aliases),
        metrics_text(version.metrics, at_most=_METRICS_IN_A_ROW),
        version.source_uri or size_text(version.size_bytes),
        age(version.created_at),
        version.author,
    )


def metrics_text(metrics: Mapping[str, float], *, at_most: int | None = None) -> str:
    """Writes metrics in one line."""
    shown = [f"{key}={number_text(value)}" for key, value in sorted(metrics.items())[:at_most]]
    return ", ".join(shown + ["…"] * (at_most is not None and len(metrics) > at_most))


def _fields(version: Version, *, packages: bool) -> list[tuple[str, str]]:
    pairs = [
        *_identity(version),
        *_contents(version),
        *_lineage(version.lineage),
        *_environment(version.environment, packages=packages),
    ]
    return [(name, value) for name, value in pairs if value]


def _identity(version: Version) -> Iterator[tuple[str, str]]:
    yield "Version", version.reference
    yield "Label", version.label or ""
    yield "Stage", version.stage.value
    yield "Aliases", ", ".join(version.aliases)
    yield "Description", version.description
    yield "Tags", tags_text(dict(version.tags))
    yield "Author", version.author
    yield "Created", moment(version.created_at)
    if version.updated_at != version.created_at:
        yield "Updated", moment(version.updated_at)
    if version.deleted_at:
        yield "Deleted", moment(version.deleted_at)
    if version.purged_at:
        yield "Purged", moment(version.purged_at)


def _contents(version: Version) -> Iterator[tuple[str, str]]:
    yield "Metrics", metrics_text(version.metrics)
    yield "Parameters", tags_text(dict(version.params))
    yield "Framework", ", ".join(filter(None, (version.framework, version.format)))
    if version.source_uri:
        yield "Files at", version.source_uri
    else:
        yield "Files", f"{version.file_count}, {size_text(version.size_bytes)}"
    yield "Digest", version.digest or ""
    if version.signature is not None:
        yield from _signature(version.signature)
    if version.input_example is not None:
        yield "Input example", one_line(json_text(version.input_example))


def _signature(signature: Signature) -> Iterator[tuple[str, str]]:
    yield "Inputs", _tensors(signature.inputs)
    yield "Outputs", _tensors(signature.outputs)
    yield "Inference parameters", _tensors(signature.params)


def _tensors(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(
        f"{tensor.name}{'?' if tensor.optional else ''}: {tensor.dtype}{list(tensor.shape) or ''}"
        for tensor in tensors
    )


def _lineage(lineage: Lineage | None) -> Iterator[tuple[str, str]]:
    if lineage is None:
        return
    yield "Run", _joined(lineage.run_id, lineage.run_url)
    if lineage.code is not None:
        dirty = "(with uncommitted changes)" if lineage.code.dirty else ""
        yield "Code", _joined(lineage.code.repository, lineage.code.commit, dirty)
    for dataset in lineage.datasets:
        yield "Data set", _joined(dataset.name, dataset.version, dataset.uri, dataset.digest)
    yield "Made from", ", ".join(lineage.parents)
    if lineage.training_seconds is not None:
        yield "Training took", f"{number_text(lineage.training_seconds)} s"


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


def _environment(environment: Environment | None, *, packages: bool) -> Iterator[tuple[str, str]]:
    if environment is None:
        return
    yield "Python", environment.python
    yield "Platform", environment.platform
    yield "Hardware", environment.hardware
    listed = [f"{name} {version}" for name, version in sorted(environment.packages.items())]
    yield "Packages", "\n".join(listed) if packages else f"{len(listed)} (--packages lists them)"
