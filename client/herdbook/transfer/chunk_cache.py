"""The seam between the transfer engine and whatever keeps chunks on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ChunkCache(Protocol):
    """Keeps chunks of earlier transfers; may be used by several threads."""

    @property
    def directory(self) -> Path | None:
        """Where it keeps them, which no pull writes to or replaces; None if not in files."""

    def get(self, digest: bytes) -> bytes | None:
        """Returns the chunk with this SHA-256 (32 bytes), or None.

        The engine hashes what it gets and fetches the chunk if the bytes are wrong, so a damaged
        cache heals.
        """

    def put(self, digest: bytes, data: bytes) -> None:
        """Takes a chunk whose bytes have been verified; may drop it, as when the disk is full."""
