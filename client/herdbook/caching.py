"""Which cache a client uses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as once

from herdbook.transfer.chunk_cache import ChunkCache


def chosen_cache(cache: ChunkCache | bool) -> Callable[[], ChunkCache | None]:  # noqa: FBT001
    """Returns what finds the cache when it is first needed.

    Args:
        cache: A cache; True for the one of this machine, False for none.
    """

    @once
    def find() -> ChunkCache | None:
        if not isinstance(cache, bool):
            return cache
        return _of_this_machine() if cache else None

    return find


def _of_this_machine() -> ChunkCache:
    from herdbook.cache import default_chunk_cache

    return default_chunk_cache()
