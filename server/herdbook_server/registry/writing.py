"""What every write to the record has in common: who, when, why, and the events that say so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from herdbook_server.errors import RevisionChanged
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database, WriteRecords
from herdbook_server.ports.values import Change, Event, EventKind
from herdbook_server.registry.callers import Caller


@dataclass(slots=True)
class Write:
    """One write in progress. If it notes no event, it leaves no trace."""

    records: WriteRecords
    change: Change
    events: list[Event] = field(default_factory=list)

    @property
    def revision(self) -> int:
        """The revision that this write makes."""
        return self.records.revision

    @property
    def time_us(self) -> int:
        """When it is made."""
        return self.change.time_us

    def note(
        self,
        kind: EventKind,
        model: str,
        *,
        version: int = 0,
        alias: str = "",
        from_value: str = "",
        to_value: str = "",
    ) -> None:
        """Adds the next event."""
        event = Event(
            revision=self.revision,
            position=len(self.events),
            kind=kind,
            model=model,
            version=version,
            alias=alias,
            from_value=from_value,
            to_value=to_value,
            actor=self.change.actor,
            time_us=self.change.time_us,
            reason=self.change.reason,
        )
        self.events.append(event)


@asynccontextmanager
async def writing(
    database: Database, clock: Clock, *, caller: Caller, reason: str
) -> AsyncIterator[Write]:
    """A write to the record, committed with its events at the end of the block.

    The time is taken once the revision is held, so that later revisions have later times as far as
    the machine's clock allows.
    """
    async with database.write() as records:
        write = Write(records, Change(caller.actor, clock.now_us(), reason))
        yield write
        await records.events.add(write.events)


def check_revision(current: int, expected: int | None, *, subject: str) -> None:
    """Refuses to change what somebody else changed first; None and 0 expect nothing.

    Raises:
        RevisionChanged: The revision is not the expected one.
    """
    if expected and expected != current:
        raise RevisionChanged(
            f"{subject} is at revision {current}, not {expected}: read it again and decide.",
            metadata={"current_revision": str(current)},
        )
