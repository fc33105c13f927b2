"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a request, as authentication knows them."""

    actor: str
    """Recorded with every write."""
