"""The local cache that the processes of a host share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from herdbook.cache.chunks import LooseChunks
from herdbook.cache.errors import CacheUnavailable, explained
from herdbook.cache.eviction import Evictor
from herdbook.cache.good import GoodRecords
from herdbook.cache.inspection import CacheCheck, CacheContents, check, contents
from herdbook.cache.layout import Layout
from herdbook.cache.versions import CachedVersion, VersionSource, VersionStore
from herdbook.core.values.registry import Resolution
from herdbook.errors import FieldInvalid

__all__ = [
    "Cache",
    "CacheCheck",
    "CacheContents",
    "CacheUnavailable",
    "CachedVersion",
    "VersionSource",
    "default_chunk_cache",
]

DEFAULT_MAX_BYTES = 32 * 1024**3
"""How large a cache grows unless told otherwise."""


class Cache:
    """A directory that keeps versions and chunks for the processes of a host.

    A version is downloaded once for all of them, taking from other versions what they share; it is
    verified at every use and repaired where damaged. The size is bounded: what was used longest ago
    is evicted, but never what some process uses now nor what served last for a reference, so these
    may exceed the bound. A process killed at any moment leaves nothing that is taken for whole, and
    no lock. Thread-safe.

    Its methods `get` and `put` make it the chunk cache of `Client(cache=...)`.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, *, max_bytes: int | None = None
    ) -> None:
        """Uses a directory, which is made when something is put in.

        Args:
            directory: Where; else HERDBOOK_CACHE_DIR, else `~/.cache/herdbook`.
            max_bytes: The bound; else HERDBOOK_CACHE_MAX_BYTES, else 32 GiB.

        Raises:
            FieldInvalid: The bound is negative or no number, or no directory is given and this
                user has no home.
        """
        self.directory = _directory(directory)
        self.max_bytes = _max_bytes(max_bytes)
        self._layout = layout = Layout(self.directory)
        self._good = GoodRecords(layout)
        self._evictor = Evictor(layout, self._good, max_bytes=self.max_bytes)
        self._versions = VersionStore(layout, self._evictor)
        self._chunks = LooseChunks(layout, self._evictor, max_bytes=self.max_bytes)

    def acquire(
        self,
        digest: str,
        source: VersionSource,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> CachedVersion:
        """Returns a version, verified and kept from eviction until released.

        What is not here is taken from `source`. If another process is fetching the version, this
        waits and shares the outcome.

        Args:
            digest: The version's digest: `sha256:` and 64 lower-case hex digits.
            source: Asked only if the cache does not hold the whole version.
            cancelled: Asked now and then whether to give up.

        Raises:
            Cancelled: `cancelled` said so; what has arrived is kept for the next time.
            ChecksumMismatch: `source` gave a manifest that does not have this digest.
            LocalDiskFull: There is no space left.
            CacheUnavailable: The directory cannot be used, such as on a read-only file system.
        """
        return self._versions.acquire(digest, source, cancelled=cancelled)

    def remember_good(self, server: str, reference: str, resolution: Resolution) -> None:
        """Records that a version serves a reference. Atomic and durable.

        Raises:
            LocalDiskFull: There is no space left.
            CacheUnavailable: The directory cannot be used.
        """
        self._good.remember(server, reference, resolution)

    def last_known_good(self, server: str, reference: str) -> Resolution | None:
        """Returns the version that last served a reference on this host; None if none is known."""
        return self._good.recall(server, reference)

    def size_bytes(self) -> int:
        """Returns how many bytes the cache holds."""
        return self._evictor.size_bytes()

    def contents(self) -> CacheContents:
        """Lists what the cache holds."""
        with explained(self.directory):
            return contents(self._layout, self._evictor, self._good)

    def prune(self, *, max_bytes: int | None = None) -> int:
        """Evicts what was used longest ago, down to `max_bytes`, else to the cache's own bound.

        What is in use or served last stays. Returns how many bytes were freed.

        Raises:
            CacheUnavailable: The directory cannot be used.
        """
        if not self.directory.exists():
            return 0
        with explained(self.directory):
            self._layout.prepare()
            return self._evictor.prune(self.max_bytes if max_bytes is None else max_bytes)

    def check(self) -> CacheCheck:
        """Hashes everything: removes damaged chunks, and tells which versions are damaged.

        Those are repaired when they are used next.

        Raises:
            CacheUnavailable: The directory cannot be used.
        """
        with explained(self.directory):
            return check(self._layout, self._evictor)

    def get(self, digest: bytes) -> bytes | None:
        """Returns the chunk with this SHA-256 (32 bytes), or None; it has yet to be hashed."""
        return self._chunks.get(digest)

    def put(self, digest: bytes, data: bytes) -> None:
        """Takes a verified chunk; drops it if it does not fit."""
        self._chunks.put(digest, data)


def default_chunk_cache() -> Cache:
    """Returns the cache that clients use unless told otherwise."""
    return Cache()


def _directory(given: str | os.PathLike[str] | None) -> Path:
    chosen = given or os.environ.get("HERDBOOK_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise FieldInvalid("There is no home directory: set HERDBOOK_CACHE_DIR.") from error
    return Path(base) / "herdbook"


def _max_bytes(given: int | None) -> int:
    text = os.environ.get("HERDBOOK_CACHE_MAX_BYTES", "")
    if given is None and text:
        if not text.isdecimal():
            raise FieldInvalid(f"HERDBOOK_CACHE_MAX_BYTES is {text!r}; it must be a whole number.")
        return int(text)
    chosen = DEFAULT_MAX_BYTES if given is None else given
    if chosen < 0:
        raise FieldInvalid(f"A cache cannot hold {chosen} bytes.")
    return chosen
