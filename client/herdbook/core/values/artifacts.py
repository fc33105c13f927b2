"""What versions consist of, and what moving them cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Names a chunk."""

    sha256: bytes
    """The SHA-256 of its bytes: 32 bytes."""

    size_bytes: int
    """How many bytes it has: 1 to 2,097,152."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version."""

    path: str
    """Where it lies below the version's root: relative, `/`-separated."""

    chunks: tuple[ChunkRef, ...]
    """Its chunks in order; the file is their concatenation."""

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""
        return sum(chunk.size_bytes for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The list of a version's files, sorted by the bytes of their paths."""

    files: tuple[File, ...]

    @property
    def size_bytes(self) -> int:
        """How many bytes all files have."""
        return sum(file.size_bytes for file in self.files)

    @property
    def chunk_count(self) -> int:
        """How many chunks all files list, those listed twice counted twice."""
        return sum(len(file.chunks) for file in self.files)


@dataclass(frozen=True, slots=True)
class VersionManifest:
    """The manifest of one version of a model."""

    model: str
    version: int

    digest: str
    """The manifest's digest: `sha256:` and 64 lower-case hex digits."""

    manifest: Manifest

    direct: bool = False
    """Whether S3 gives out its chunks to clients, past the server."""


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a push or a pull has come."""

    total_bytes: int
    """Bytes of all files."""

    moved_bytes: int
    """Bytes that went over the network so far."""

    saved_bytes: int
    """Bytes that did not have to, because the other side, or the local cache, had them."""

    @property
    def done_bytes(self) -> int:
        """Bytes of the files that are in place."""
        return self.moved_bytes + self.saved_bytes


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What a push or a pull cost."""

    total_bytes: int
    """Bytes of all files."""

    moved_bytes: int
    """Bytes of those that went over the network."""

    saved_bytes: int
    """Bytes that did not have to."""

    seconds: float
    """How long it took."""


@dataclass(frozen=True, slots=True)
class PulledVersion:
    """A version whose files lie in a local directory, verified."""

    path: Path
    """The directory."""

    model: str
    version: int

    digest: str
    """The digest of its manifest: `sha256:` and 64 lower-case hex digits."""

    transfer: TransferReport
    """What the pull cost."""
