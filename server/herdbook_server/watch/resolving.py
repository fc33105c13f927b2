"""Looks up what references name, and why one names nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from herdbook_server.errors import AliasNotFound, ModelNotFound, VersionNotFound
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import ByAlias, Reference
from herdbook_server.ports.values import Resolution


@dataclass(frozen=True, slots=True)
class Naming:
    """What a reference names, or why it names nothing."""

    resolution: Resolution | None
    missing_reason: str = ""


async def look_up(records: Records, references: Sequence[Reference]) -> dict[Reference, Naming]:
    """What each reference names now."""
    found = await records.versions.resolve_many(references)
    pairs = zip(references, found, strict=True)
    in_doubt = {reference.model for reference, resolution in pairs if resolution is None}
    present = {model: await records.models.get(model) for model in in_doubt}
    named = {}
    for reference, resolution in zip(references, found, strict=True):
        if resolution is not None:
            named[reference] = Naming(resolution)
        else:
            model = present[reference.model]
            alive = model is not None and model.deleted_at_us is None
            named[reference] = Naming(None, _missing_reason(reference, model_exists=alive))
    return named


def _missing_reason(reference: Reference, *, model_exists: bool) -> str:
    if not model_exists:
        return ModelNotFound.reason
    return AliasNotFound.reason if isinstance(reference, ByAlias) else VersionNotFound.reason
