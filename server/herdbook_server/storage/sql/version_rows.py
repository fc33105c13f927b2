"""How a version lies in its row."""

from __future__ import annotations

from typing import Final

from herdbook_server.ports.values import JSON, Contents, Description, Stage, Version
from herdbook_server.storage.sql import documents
from herdbook_server.storage.sql.connection import Row, Value

DIGEST_PREFIX: Final = "sha256:"

STORED: Final = (
    "id",
    "model",
    "number",
    "deleted_at_us",
    "stage",
    "manifest_digest",
    "size_bytes",
    "file_count",
    "created_at_us",
    "updated_at_us",
    "revision",
    "record_bytes",
    "label",
    "digest",
    "author",
    "framework",
    "format",
    "run_id",
    "code_commit",
    "source_uri",
    "has_input_example",
    "tags",
    "metrics",
    "params",
    "description",
    "signature",
    "input_example",
    "lineage",
    "environment",
    "packages",
)
"""Columns in the order of `to_row`."""

READ: Final = (
    "model, number, deleted_at_us, purged_at_us, stage, digest, size_bytes, file_count, "
    "created_at_us, updated_at_us, revision, label, author, framework, format, source_uri, "
    "has_input_example, tags, metrics, params, description, signature, input_example, lineage, "
    "environment"
)
"""Columns in the order of `to_version`, which takes `packages` after them."""


def to_row(version_id: int, version: Version) -> tuple[Value, ...]:
    """Return the values of a version's row, in the order of `STORED`."""
    about, contents = version.about, version.contents
    texts = documents_of(about)
    return (
        version_id,
        version.model,
        version.number,
        version.deleted_at_us,
        version.stage.value,
        contents.digest,
        contents.size_bytes,
        contents.file_count,
        version.created_at_us,
        version.updated_at_us,
        version.revision,
        record_bytes(about, texts),
        about.label,
        None if contents.digest is None else DIGEST_PREFIX + contents.digest.hex(),
        about.author,
        about.framework,
        about.format,
        run_id(about.lineage),
        code_commit(about.lineage),
        contents.source_uri,
        int(about.has_input_example),
        *texts[:3],
        about.description,
        *texts[3:],
    )


def documents_of(about: Description) -> tuple[str | None, ...]:
    """Return the columns of JSON: tags, metrics, params, signature … packages."""
    environment = dict(about.environment) if about.environment is not None else None
    packages = environment.pop("packages", None) if environment is not None else None
    return (
        documents.dump(dict(about.tags)),
        documents.dump({key: float(value) for key, value in about.metrics.items()}),
        documents.dump(dict(about.params)),
        documents.dump_optional(about.signature),
        documents.dump(about.input_example) if about.has_input_example else None,
        documents.dump_optional(about.lineage),
        documents.dump_optional(environment),
        documents.dump_optional(packages),
    )


def record_bytes(about: Description, texts: tuple[str | None, ...]) -> int:
    """Return about how many bytes a version takes in a page of a search, packages left out."""
    return len(about.description.encode()) + sum(len(text) for text in texts[:-1] if text)


def run_id(lineage: JSON) -> str | None:
    """Return the id of the training run, if there is one."""
    return (lineage or {}).get("run_id") or None


def code_commit(lineage: JSON) -> str | None:
    """Return the commit that the version was trained with, if there is one."""
    return ((lineage or {}).get("code") or {}).get("commit") or None


def to_version(row: Row, *, packages: str | None, aliases: tuple[str, ...]) -> Version:
    """Return the version that a row holds, whose columns are those of `READ`."""
    (
        model,
        number,
        deleted_at_us,
        purged_at_us,
        stage,
        digest,
        size_bytes,
        file_count,
        created_at_us,
        updated_at_us,
        revision,
        *description,
    ) = row
    return Version(
        model=model,
        number=number,
        about=to_description(description, packages=packages),
        contents=Contents(
            digest=None if digest is None else bytes.fromhex(digest.removeprefix(DIGEST_PREFIX)),
            source_uri=description[4],
            size_bytes=size_bytes,
            file_count=file_count,
        ),
        stage=Stage(stage),
        created_at_us=created_at_us,
        updated_at_us=updated_at_us,
        deleted_at_us=deleted_at_us,
        purged_at_us=purged_at_us,
        revision=revision,
        aliases=aliases,
    )


def to_description(row: Row, *, packages: str | None) -> Description:
    """Return what a version is described with, from the columns after `revision` in `READ`."""
    label, author, framework, format_, _, has_input_example, *documents_, environment = row
    tags, metrics, params, description, signature, input_example, lineage = documents_
    return Description(
        label=label,
        description=description,
        tags=documents.load(tags),
        author=author,
        params=documents.load(params),
        metrics=documents.load(metrics),
        signature=documents.load_optional(signature),
        input_example=documents.load_optional(input_example),
        has_input_example=bool(has_input_example),
        framework=framework,
        format=format_,
        lineage=documents.load_optional(lineage),
        environment=to_environment(environment, packages),
    )


def to_environment(environment: str | None, packages: str | None) -> JSON:
    """Return the environment with the packages, where they were read."""
    if environment is None:
        return None
    return {**documents.load(environment), "packages": documents.load_optional(packages) or {}}
