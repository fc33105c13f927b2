"""Commands about models."""

from __future__ import annotations

import typer

from herdbook.cli.options import DeletedOption, FilterOption, LimitOption, OrderByOption
from herdbook.cli.output import limited
from herdbook.cli.panels import REGISTRY
from herdbook.cli.session import Session, command
from herdbook.cli.texts import age, moment, one_line, printable, version_text
from herdbook.core.values import Alias, Model

PEOPLE_LIMIT = 50
_COLUMNS = ("MODEL", "NEWEST", "VERSIONS", "TAGS", "UPDATED", "DESCRIPTION")
_EXAMPLES = (
    "herdbook models",
    "herdbook models --filter 'tags.team = \"fraud\"' --order-by 'updated_at desc'",
    "herdbook models --json | jq -r '.[].name'",
)


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    command(app, "models", examples=_EXAMPLES, panel=REGISTRY)(list_models)


def list_models(
    session: Session,
    *,
    filter: FilterOption = None,
    order_by: OrderByOption = None,
    deleted: DeletedOption = False,
    limit: LimitOption = None,
) -> None:
    """List models."""
    found = session.client.list_models(filter=filter, order_by=order_by, show_deleted=deleted)
    output = session.output
    if output.as_json:
        output.documents(limited(found, limit or 0, output))
        return
    shown = limited(found, PEOPLE_LIMIT if limit is None else limit, output)
    output.table(_COLUMNS, map(_row, shown), empty="No models found.")


def show_model(session: Session, name: str, *, deleted: bool = False) -> None:
    """Shows one model with its aliases."""
    model = session.client.get_model(name, show_deleted=deleted)
    aliases = list(session.client.list_aliases(name)) if model.deleted_at is None else []
    output = session.output
    if output.as_json:
        output.document({"model": model, "aliases": aliases})
        return
    output.fields(_fields(model, aliases))


def tags_text(tags: dict[str, str]) -> str:
    """Writes tags in one line."""
    return ", ".join(f"{key}={one_line(value)}" for key, value in sorted(tags.items()))


def _row(model: Model) -> tuple[str, ...]:
    return (
        model.name + (" (deleted)" if model.deleted_at else ""),
        version_text(model.latest_version),
        str(model.version_count),
        tags_text(dict(model.tags)),
        age(model.updated_at),
        one_line(model.description),
    )


def _fields(model: Model, aliases: list[Alias]) -> list[tuple[str, str]]:
    pairs = [
        ("Model", model.name),
        ("Description", printable(model.description)),
        ("Newest version", version_text(model.latest_version)),
        ("Versions", str(model.version_count)),
        ("Aliases", ", ".join(f"{alias.alias} → {alias.version}" for alias in aliases)),
        ("Tags", tags_text(dict(model.tags))),
        ("Author", model.author),
        ("Created", moment(model.created_at)),
        ("Updated", moment(model.updated_at)),
        ("Deleted", moment(model.deleted_at) if model.deleted_at else ""),
    ]
    return [(name, value) for name, value in pairs if value]
