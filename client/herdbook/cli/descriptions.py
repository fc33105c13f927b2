"""What `push` is told about a version, read from options and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from herdbook.core.values import Dataset, Json, Lineage, Signature, TensorSpec

_MAX_FILE_BYTES = 16 * 1024**2


class DescriptionFileError(Exception):
    """A file that describes a version cannot be understood; the message says why."""


def lineage_of(
    *,
    run_id: str,
    run_url: str,
    datasets: Sequence[str],
    parents: Sequence[str],
    training_seconds: float | None,
) -> Lineage | None:
    """Returns the lineage that the options give; None if they give none."""
    lineage = Lineage(
        run_id=run_id,
        run_url=run_url,
        datasets=tuple(map(_dataset, datasets)),
        parents=tuple(parents),
        training_seconds=training_seconds,
    )
    return None if lineage == Lineage() else lineage


def _dataset(text: str) -> Dataset:
    name, _, uri = text.partition("=")
    return Dataset(name, uri=uri)


def read_json(path: Path) -> Json:
    """Reads a JSON file.

    Raises:
        DescriptionFileError: It cannot be read, is no JSON, or is too large to describe anything.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DescriptionFileError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise DescriptionFileError(f"{path} has more than {_MAX_FILE_BYTES} bytes")
    try:
        value: Json = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DescriptionFileError(f"{path} is no JSON: {error}") from None
    return value


def signature_of(value: Json) -> Signature:
    """Reads a signature.

    Raises:
        DescriptionFileError: It has another shape.
    """
    if not isinstance(value, Mapping) or set(value) - {"inputs", "outputs", "params"}:
        raise DescriptionFileError("a signature is an object of inputs, outputs and params")
    return Signature(**{kind: _tensors(kind, listed) for kind, listed in value.items()})


def _tensors(kind: str, listed: Json) -> tuple[TensorSpec, ...]:
    if not isinstance(listed, list):
        raise DescriptionFileError(f"the {kind} of a signature are a list")
    return tuple(_tensor(kind, item) for item in listed)


def _tensor(kind: str, item: Any) -> TensorSpec:
    match item:
        case {"dtype": str() as dtype, **rest} if not set(rest) - {"name", "shape", "optional"}:
            shape = rest.get("shape", [])
            if isinstance(shape, list) and all(type(size) is int for size in shape):
                name, optional = str(rest.get("name", "")), bool(rest.get("optional", False))
                return TensorSpec(name, dtype, tuple(shape), optional)
    raise DescriptionFileError(
        f"each of the {kind} of a signature is an object of dtype, name, shape and optional"
    )
