"""What a chunk store could not do, as the caller of a service may know it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from herdbook_server import errors
from herdbook_server.errors import ChunkLost, HerdbookError, Resource
from herdbook_server.ports.chunks import (
    ChunkDamaged,
    ChunkMissing,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

logger = logging.getLogger(__name__)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the refusal that stands for a store's error; the log tells the operator more."""
    try:
        yield
    except StoreError as error:
        logger.error("%s", error)  # noqa: TRY400 - the store says where and why
        raise refusal(error) from error


def refusal(error: StoreError) -> HerdbookError:
    """Return the refusal that stands for a store's error."""
    if isinstance(error, ChunkMissing | ChunkDamaged):
        return lost(error.digest)
    if isinstance(error, StoreFull):
        return errors.StoreFull("The chunk store takes no more bytes.")
    retry_after = error.retry_after_seconds if isinstance(error, StoreUnavailable) else None
    return errors.StoreUnavailable(
        "The chunk store does not answer as it should.", retry_after_seconds=retry_after
    )


def lost(digest: bytes) -> ChunkLost:
    """Return the error of a chunk that should be there, whole, and is not."""
    name = digest.hex()
    return ChunkLost(
        f"Chunk {name} is gone from the chunk store, or damaged; pushing its file again heals it.",
        resource=Resource("chunk", name),
    )
