"""What a watcher asks for and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from herdbook_server.ports.values import Resolution


@dataclass(frozen=True, slots=True)
class Replica:
    """A serving process that watches."""

    id: str
    host: str
    name: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one watch asks for."""

    references: tuple[str, ...] = ()
    """As the watcher spells them."""
    model_prefixes: tuple[str, ...] = ()
    known: Mapping[str, ReferenceState] = field(default_factory=dict)
    """What the watcher has from before, by reference."""
    replica: Replica | None = None


@dataclass(frozen=True, slots=True)
class ReferenceState:
    """What a reference names."""

    reference: str
    resolution: Resolution | None
    revision: int
    """Of the registry, at which this was so, or is known to have become so by."""
    missing_reason: str = ""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Every change up to `revision` has been told."""

    revision: int
    initial_done: bool = False


Update = ReferenceState | Bookmark
