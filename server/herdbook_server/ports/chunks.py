"""The port through which the bytes of chunks are kept, and what it promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Data: TypeAlias = bytes | memoryview

DELETION_SECONDS = 120.0
"""How long deletions may take. It is long before others may take over what was to be deleted."""


class StoreError(Exception):
    """A chunk store did not do what it was asked; the sentence is meant for the operator.

    It may name buckets, folders and settings, which the peer of a call has no business with.
    """


class ChunkMissing(StoreError):
    """The store holds no chunk of this digest."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"The store holds no chunk {digest.hex()}.")
        self.digest = digest


class ChunkDamaged(StoreError):
    """The store holds this chunk with another size than it was recorded with.

    Storing the chunk again heals it.
    """

    def __init__(self, digest: bytes, *, expected_bytes: int, actual_bytes: int) -> None:
        super().__init__(
            f"Chunk {digest.hex()} is {actual_bytes} bytes in the store, not {expected_bytes}."
        )
        self.digest = digest
        self.expected_bytes = expected_bytes
        self.actual_bytes = actual_bytes


class StoreFull(StoreError):
    """The store has no room, has reached a quota, or is read-only; only an operator can help."""


class StoreMisconfigured(StoreError):
    """The store refuses us for a reason that lasts until somebody changes a setting."""


class StoreUnavailable(StoreError):
    """The store did not answer, or is overloaded; the same call may succeed later."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """How long the store asked to be left alone; None when it did not say."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """What a store's own listing says of one chunk."""

    digest: bytes
    """SHA-256, 32 raw bytes."""

    size_bytes: int

    modified_at_us: int
    """When the chunk was last put, by the store's clock; some stores keep whole seconds only."""


class ChunkStore(Protocol):
    """Holds chunks of 1 byte to 2 MiB, named by their SHA-256 as 32 raw bytes.

    Every method may be called from many tasks at once and raises `StoreError` only, apart from
    `ValueError` for a digest that is not 32 bytes. A cancelled call may still take effect.
    Memory is bounded: a store holds on to nothing but the chunks of calls under way.

    A store does not order a `delete` against a `put` of the same digest: whoever deletes makes
    sure that nobody is about to rely on those bytes.
    """

    async def open(self) -> None:
        """Make the store usable; called once, before anything else.

        Raises:
            StoreError: The store cannot be used; the subclass says why.
        """

    async def put(self, chunks: Mapping[bytes, Data]) -> Mapping[bytes, StoreError]:
        """Store chunks by their digests, which the caller has verified.

        Returns those that failed, and why; all others are durable. Atomic, each of them: no reader
        ever sees a part of one. Idempotent: a chunk already held is written anew, which heals a
        damaged copy and renews `modified_at_us`. The bytes must not change afterwards, even if the
        call is cancelled.

        The failures are:
            StoreFull: There is no room; nothing is left behind.
            StoreUnavailable: It is unknown whether the chunk is held; put it again.
            StoreMisconfigured: The store refuses writes.
        """

    async def get(self, digest: bytes, size_bytes: int) -> bytes:
        """Return the chunk, which is exactly `size_bytes` long.

        The bytes are not hashed again: they were before they were stored, and whoever uses them
        hashes them anyway. The size is checked, since a file cut short is the usual damage.

        Raises:
            ChunkMissing: The store holds no such chunk.
            ChunkDamaged: It holds one of another size.
            StoreUnavailable: The store did not answer.
            StoreMisconfigured: The store refuses reads.
        """

    async def delete(self, digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        """Delete chunks; those that are absent are none the less deleted.

        Returns those that failed, and why. After an error some are deleted, some are not, and some
        may yet be: delete them again. After a crash a deleted chunk may be back, as one that
        nothing refers to. A call takes effect within `DELETION_SECONDS` or, as far as the store can
        see to that, not at all.

        The failures are:
            StoreFull, StoreMisconfigured: It is not deleted, nor will it be.
            StoreUnavailable: It may be deleted, now or later.

        Raises:
            StoreUnavailable: The store did not answer.
            StoreMisconfigured: The store refuses deletions.
        """

    def list_chunks(self) -> AsyncGenerator[StoredChunk, None]:
        """Yield every chunk held, in no particular order, a bounded page in memory at a time.

        Chunks put or deleted meanwhile may or may not be among them. What does not look like a
        chunk is passed over. Whoever leaves early closes the generator (`contextlib.aclosing`).

        Raises:
            StoreUnavailable: The store did not answer.
            StoreMisconfigured: The store refuses listing.
        """

    async def check(self) -> None:
        """Prove that chunks can be written, read, deleted and listed, by doing so with a probe.

        The probe is no chunk and never listed.

        Raises:
            StoreError: They cannot; the subclass says why.
        """

    async def close(self) -> None:
        """Finish the calls under way and release everything; no call may follow."""
