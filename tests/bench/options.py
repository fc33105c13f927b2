"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """How much a benchmark does, and where."""

    home: Path
    """An empty directory; what a figure says of a disk, it says of this directory's."""
    rounds: int = 15
    """Turns of subject and baseline each."""
    seconds: float = 0.7
    """How long one turn of a throughput lasts."""
    transfer_bytes: int = 1024 * MIB
    """How much one push or pull moves."""
    transfer_rounds: int = 3
    """Turns of pushes and pulls: each writes the whole amount anew."""
    moves: int = 200
    """Moves of an alias."""
    watches: int = 10_000
    """Watches that are open at once."""
    versions: int = 100_000
    """Versions that a search goes through."""
    engines: tuple[str, ...] = ("sqlite", "postgresql")
    s3: bool = False
    """Push to and pull from an S3 server too."""
