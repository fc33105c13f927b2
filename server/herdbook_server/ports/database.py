"""The database, as a port."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from herdbook_server.ports.records import Records


class WriteRecords(Records, Protocol):
    """The gateways of a write to the record."""

    @property
    def revision(self) -> int:
        """This write's revision: greater by one than that of the write committed before it."""
        ...


class Database(Protocol):
    """Holds the record. Every method raises DatabaseUnavailable if the engine does not answer."""

    @property
    def engine(self) -> str:
        """`sqlite` or `postgresql`."""
        ...

    def read(self) -> AbstractAsyncContextManager[Records]:
        """A read: each query sees all that was committed before it began.

        Never waits for writers.
        """
        ...

    def write(self) -> AbstractAsyncContextManager[WriteRecords]:
        """A write to the record, in one transaction.

        It first takes the next revision, which makes writers take turns.

        Commits at the end of the block, durably. Rolls back, leaving no trace and giving the
        revision to the next write, if the block raises or added no event.
        """
        ...

    def bookkeep(self, *, durable: bool = True) -> AbstractAsyncContextManager[Records]:
        """A write to what is not the record (chunk index, manifests, replicas).

        One transaction that takes no revision and never waits for a write to the record on
        PostgreSQL. Commits at the end of the block; unless `durable`, without waiting for the disk.
        A crash of the machine may then undo it and what follows, but not once a later transaction
        is durable, as every write to the record is.
        """
        ...

    async def revision(self) -> int:
        """The revision of the newest committed write; 0 if there was none."""
        ...

    async def wait_for_change(self, revision: int, *, timeout_seconds: float) -> None:
        """Returns soon after the registry's revision has passed `revision`, or after the timeout.

        A wake-up and no more: it may return early, and late if the engine's notifications fail.
        Callers poll `revision`.
        """
        ...

    async def migrate(self) -> int:
        """Brings the schema to the newest; one process at a time.

        Returns how many steps were taken.
        """
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...
