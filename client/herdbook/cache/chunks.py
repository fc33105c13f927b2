"""Loose chunks: what pulls into directories of the user's own have fetched."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading

from herdbook.cache.eviction import Evictor
from herdbook.cache.index import ChunkIndex
from herdbook.cache.layout import Layout, touch
from herdbook.core.manifests import MAX_CHUNK_BYTES
from herdbook.errors import HerdbookError
from herdbook.files import read_at_most

_SPARED_SHARE = 0.05


class LooseChunks:
    """The chunks of one cache directory, those of its whole versions included.

    Thread-safe, and safe among processes.
    """

    def __init__(self, layout: Layout, evictor: Evictor, *, max_bytes: int) -> None:
        """Uses the directories of `layout`, and `evictor` to stay within `max_bytes`."""
        self._layout = layout
        self._evictor = evictor
        self._max_bytes = max_bytes
        self._index = ChunkIndex(layout)
        self._lock = threading.Lock()
        self._trim_after_bytes = 0

    def get(self, digest: bytes) -> bytes | None:
        """Returns the chunk with this SHA-256, or None; loose ones have yet to be hashed."""
        path = self._layout.chunk(digest)
        try:
            data = read_at_most(path, MAX_CHUNK_BYTES)
        except OSError:
            place = self._index.find(digest)
            return None if place is None else place.read()
        # What is another user's can be read and not touched.
        with contextlib.suppress(OSError):
            touch(path)
        return data

    def put(self, digest: bytes, data: bytes) -> None:
        """Keeps a verified chunk, unless it does not fit the disk or the cache."""
        if len(data) > self._max_bytes:
            return
        # A cache that cannot keep something has still not failed anybody.
        with contextlib.suppress(OSError, HerdbookError):
            self._trim(len(data))
            usage = shutil.disk_usage(self._layout.root)
            if usage.free - len(data) > usage.total * _SPARED_SHARE:
                self._write(digest, data)

    def _write(self, digest: bytes, data: bytes) -> None:
        path = self._layout.chunk(digest)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
        try:
            # Without fsync: what a crash leaves is found out when it is hashed.
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _trim(self, size_bytes: int) -> None:
        """Makes room now and then, since it costs a walk over the cache."""
        step_bytes = self._max_bytes // 16
        with self._lock:
            self._trim_after_bytes -= size_bytes
            if self._trim_after_bytes >= 0:
                return
            self._trim_after_bytes = step_bytes
        self._layout.prepare()
        self._evictor.make_room(step_bytes, cancelled=lambda: False)
