"""JSON, as it is kept in columns of text."""

from __future__ import annotations

import json

from herdbook_server.ports.values import JSON


def dump(value: JSON) -> str:
    """Return compact JSON in ASCII, which holds what neither engine's text may: NUL, surrogates."""
    return json.dumps(value, separators=(",", ":"))


def dump_optional(value: JSON) -> str | None:
    """Return compact JSON, or None for None."""
    return None if value is None else dump(value)


def load(text: str) -> JSON:
    """Return what was dumped."""
    return json.loads(text)


def load_optional(text: str | None) -> JSON:
    """Return what was dumped, or None for None."""
    return None if text is None else json.loads(text)
