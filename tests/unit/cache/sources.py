"""Versions made of bytes in memory, and a source that counts what is taken from it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence

from herdbook.cache.versions import TakeChunk
from herdbook.core.manifests import digest_of, manifest_of
from herdbook.core.values.artifacts import ChunkRef, File, Manifest
from herdbook.errors import Unavailable

CHUNK_BYTES = 1000


class MemorySource:
    """A version whose files are given; can break down after some chunks."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.stored: dict[ChunkRef, bytes] = {}
        self.made = manifest_of([self._file(path, data) for path, data in files.items()])
        self.digest = digest_of(self.made)
        self.manifest_count = 0
        self.downloaded: list[ChunkRef] = []
        self.breaks_after: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()

    def _file(self, path: str, data: bytes) -> File:
        pieces = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        refs = [ChunkRef(hashlib.sha256(piece).digest(), len(piece)) for piece in pieces]
        self.stored.update(zip(refs, pieces, strict=True))
        return File(path, tuple(refs))

    def manifest(self) -> Manifest:
        self.manifest_count += 1
        return self.made

    def download(self, chunks: Sequence[ChunkRef], take: TakeChunk) -> None:
        self.asked.set()
        assert self.gate.wait(30)
        for chunk in chunks:
            if self.breaks_after is not None and len(self.downloaded) >= self.breaks_after:
                raise Unavailable("The registry is down.")
            take(chunk, self.stored[chunk])
            self.downloaded.append(chunk)

    @property
    def downloaded_bytes(self) -> int:
        return sum(chunk.size_bytes for chunk in self.downloaded)


class Offline:
    """A source that must not be asked."""

    def manifest(self) -> Manifest:
        raise Unavailable("The registry is down.")

    def download(self, chunks: Sequence[ChunkRef], take: TakeChunk) -> None:
        raise Unavailable(f"The registry is down: {len(chunks)} chunks.{take.__doc__ or ''}")
