"""Versions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from herdbook.core.plain import plain
from herdbook.core.values import Comparison, FieldComparison, Json, Version

_LEFT_OUT: Final = frozenset({"transfer", "revision", "updated_at"})
_NESTED: Final = frozenset({"metrics", "params", "tags", "lineage", "environment"})


def compare_versions(versions: Sequence[Version]) -> Comparison:
    """Lists every field that at least one of the versions has.

    Fields are named by their path, such as `metrics.rmse`; those of maps are sorted by name.
    """
    flat = [_fields(version) for version in versions]
    names = sorted(dict.fromkeys(name for fields in flat for name in fields), key=_order)
    rows = (FieldComparison(name, tuple(fields.get(name) for fields in flat)) for name in names)
    return Comparison(tuple(versions), tuple(rows))


def _order(name: str) -> tuple[int, str]:
    first = name.partition(".")[0]
    return list(Version.__dataclass_fields__).index(first), name


def _fields(version: Version) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    record = plain(version)
    if isinstance(record, Mapping):
        for name, value in record.items():
            if name not in _LEFT_OUT:
                _add(fields, name, value, nested=name in _NESTED)
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def _add(fields: dict[str, Json], name: str, value: Json, *, nested: bool) -> None:
    if nested and isinstance(value, Mapping):
        for key, inner in value.items():
            _add(fields, f"{name}.{key}", inner, nested=True)
    else:
        fields[name] = value
