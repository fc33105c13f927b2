"""What may be said of a version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from herdbook_server.errors import FieldInvalid
from herdbook_server.ports.values import JSON, Description
from herdbook_server.registry import rules
from herdbook_server.registry.sizes import description_size_bytes

DESCRIPTION_MAX_BYTES = 1024 * 1024
"""Everything said of a version: less than a message, so that every client can read it."""

INPUT_EXAMPLE_MAX_BYTES = 64 * rules.KIB
SHORT_MAX_CHARACTERS = 128
TEXT_MAX_CHARACTERS = 256
TENSORS_MAX = 1024
DTYPE_MAX_CHARACTERS = 64
DIMENSIONS_MAX = 32
DATASETS_MAX = 256
PARENTS_MAX = 64
PARENT_MAX_CHARACTERS = 512
PACKAGES_MAX = 4096
PYTHON_MAX_CHARACTERS = 64


def check_about(about: Description, *, field: str = "version") -> None:
    """What whoever registers a version says of it. Raises FieldInvalid, LabelInvalid."""
    if about.label is not None:
        rules.check_label(about.label, field=f"{field}.label")
    rules.check_description(about.description, field=f"{field}.description")
    rules.check_tags(about.tags, field=f"{field}.tags")
    rules.check_line(about.author, field=f"{field}.author", limit=rules.ACTOR_MAX_CHARACTERS)
    rules.check_params(about.params, field=f"{field}.params")
    rules.check_metrics(about.metrics, field=f"{field}.metrics")
    for name, text in (("framework", about.framework), ("format", about.format)):
        rules.check_line(text, field=f"{field}.{name}", limit=SHORT_MAX_CHARACTERS)
    _check_signature(about.signature, field=f"{field}.signature")
    _check_lineage(about.lineage, field=f"{field}.lineage")
    _check_environment(about.environment, field=f"{field}.environment")
    _check_example(about.input_example, field=f"{field}.input_example")
    check_total(about, field=field)


def check_total(about: Description, *, field: str = "version") -> None:
    """All that is said together, also after a change. Raises FieldInvalid."""
    size_bytes = description_size_bytes(about)
    if size_bytes > DESCRIPTION_MAX_BYTES:
        raise rules.refuse(
            FieldInvalid,
            field,
            f"All that is said of it takes about {size_bytes} bytes; "
            f"{DESCRIPTION_MAX_BYTES} is the most.",
        )


def _check_signature(signature: JSON, *, field: str) -> None:
    if signature is None:
        return
    for name in ("inputs", "outputs", "params"):
        tensors = signature[name]
        rules.check_count(tensors, field=f"{field}.{name}", limit=TENSORS_MAX)
        for index, tensor in enumerate(tensors):
            _check_tensor(tensor, field=f"{field}.{name}[{index}]")


def _check_tensor(tensor: Mapping[str, JSON], *, field: str) -> None:
    rules.check_characters(tensor["name"], field=f"{field}.name", limit=TEXT_MAX_CHARACTERS)
    rules.check_characters(tensor["dtype"], field=f"{field}.dtype", limit=DTYPE_MAX_CHARACTERS)
    rules.check_count(tensor["shape"], field=f"{field}.shape", limit=DIMENSIONS_MAX)
    if any(size < -1 for size in tensor["shape"]):
        raise rules.refuse(FieldInvalid, f"{field}.shape", "A dimension is -1 (any size) or more.")


def _check_lineage(lineage: JSON, *, field: str) -> None:
    if lineage is None:
        return
    _check_texts(
        lineage, {"run_id": TEXT_MAX_CHARACTERS, "run_url": rules.URI_MAX_CHARACTERS}, field
    )
    if lineage["code"] is not None:
        limits = {"repository": rules.URI_MAX_CHARACTERS, "commit": SHORT_MAX_CHARACTERS}
        _check_texts(lineage["code"], limits, f"{field}.code")
    _check_datasets(lineage["datasets"], field=f"{field}.datasets")
    rules.check_count(lineage["parents"], field=f"{field}.parents", limit=PARENTS_MAX)
    for index, parent in enumerate(lineage["parents"]):
        rules.check_characters(
            parent, field=f"{field}.parents[{index}]", limit=PARENT_MAX_CHARACTERS
        )
    duration_us = lineage["training_duration_us"]
    if duration_us is not None and duration_us < 0:
        raise rules.refuse(
            FieldInvalid, f"{field}.training_duration", "A training takes no negative time."
        )


def _check_datasets(datasets: Iterable[Mapping[str, JSON]], *, field: str) -> None:
    datasets = list(datasets)
    rules.check_count(datasets, field=field, limit=DATASETS_MAX)
    limits = {
        "name": TEXT_MAX_CHARACTERS,
        "uri": rules.URI_MAX_CHARACTERS,
        "digest": TEXT_MAX_CHARACTERS,
        "version": TEXT_MAX_CHARACTERS,
    }
    for index, dataset in enumerate(datasets):
        _check_texts(dataset, limits, f"{field}[{index}]")


def _check_environment(environment: JSON, *, field: str) -> None:
    if environment is None:
        return
    limits = {
        "python": PYTHON_MAX_CHARACTERS,
        "platform": TEXT_MAX_CHARACTERS,
        "hardware": TEXT_MAX_CHARACTERS,
    }
    _check_texts(environment, limits, field)
    packages = environment["packages"]
    rules.check_count(packages, field=f"{field}.packages", limit=PACKAGES_MAX)
    for name, version in packages.items():
        path = rules.entry(f"{field}.packages", name)
        rules.check_characters(name, field=path, limit=SHORT_MAX_CHARACTERS)
        rules.check_characters(version, field=path, limit=SHORT_MAX_CHARACTERS)


def _check_example(example: JSON, *, field: str) -> None:
    try:
        text = json.dumps(example, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise rules.refuse(FieldInvalid, field, "The example is nested too deeply.") from None
    rules.check_bytes(text, field=field, limit_bytes=INPUT_EXAMPLE_MAX_BYTES)
    if "\\u0000" in text and _has_nul(example):
        raise rules.refuse(FieldInvalid, field, "NUL characters cannot be stored.")


def _has_nul(value: JSON) -> bool:
    if isinstance(value, dict):
        return any("\x00" in key or _has_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\x00" in value


def _check_texts(holder: Mapping[str, JSON], limits: Mapping[str, int], field: str) -> None:
    for name, limit in limits.items():
        rules.check_characters(holder[name], field=f"{field}.{name}", limit=limit)
