"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a request, as authentication knows them."""

    actor: str
    """Recorded with every write."""


UPKEEP: Final = Caller("herdbook")
"""A server itself, in what it does now and then."""
