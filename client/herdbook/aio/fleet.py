"""What an asyncio client watches, reports and asks of the fleet and of the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

from herdbook.core.operations import fleet as operations
from herdbook.core.values import (
    Convergence,
    Event,
    ReferenceState,
    Replica,
    ReplicaReport,
    ServerInfo,
)
from herdbook.core.watching import OnContact, Watch, WatchUpdate, tell_contact
from herdbook.transport.aio_caller import AioCaller
from herdbook.transport.aio_watcher import follow


class AsyncFleetCalls:
    """Watches references, takes part in the fleet, reads events."""

    _caller: AioCaller

    def watch(
        self,
        references: str | Iterable[str] = (),
        *,
        prefixes: Iterable[str] = (),
        known: Iterable[ReferenceState] = (),
        replica: Replica | None = None,
        on_contact: OnContact | None = None,
    ) -> AsyncIterator[ReferenceState]:
        """Tells what references name: first the present state of each, then every change.

        Goes on for ever, through breaks and restarts of the server, until the iterator or the
        client is closed. States of one reference come with growing revisions; intermediate ones may
        be skipped, the latest always comes. A reference that names nothing is a state, no error.

        Args:
            references: What to watch; 1,000 at most together with prefixes.
            prefixes: Watch every alias of every model whose name starts so, such as `fraud/`;
                10,000 aliases at most.
            known: States from before; one that is still true is not told again.
            replica: Who watches; makes the watch count as a live replica. None: a mere onlooker.
            on_contact: Is called with the error each time that an attempt to follow the server
                fails, and with None when the present states have been told again. What it raises
                ends the watch. Without it, breaks pass in silence.

        Raises:
            EncryptionMismatch: Client and server do not agree about TLS.
            PermissionDenied: The credentials do not allow it.
            ReferenceInvalid: Something is no reference.
            Unauthenticated: No credentials, or bad ones.
            WatchTooWide: More than 10,000 aliases lie below the prefixes; this may come later, too.
        """
        watch = Watch.of(references, prefixes=prefixes, known=known, replica=replica)
        return _states(follow(self._caller, watch), on_contact)

    def list_events(
        self,
        model: str | None = None,
        *,
        after_revision: int = 0,
        filter: str | None = None,
        descending: bool = False,
        page_size: int = 0,
    ) -> AsyncIterator[Event]:
        """Lists events in the order of their commits, gap-free, page by page as they are consumed.

        Args:
            model: Of which model; None for all.
            after_revision: Only events of greater revisions.
            filter: Such as `kind = "alias_set" AND actor = "ci"`; None for all.
            descending: Newest first.
            page_size: Events a page, 1 to 1000; 0 leaves it to the server.

        Raises:
            FilterInvalid: The filter cannot be understood.
        """
        return self._caller.items(
            operations.list_events(
                model,
                after_revision=after_revision,
                filter=filter,
                descending=descending,
                page_size=page_size,
            )
        )

    async def get_convergence(self, reference: str) -> Convergence:
        """Counts the live replicas of a reference by state, against the version it names now.

        Args:
            reference: The reference, spelled as the replicas watch it.

        Raises:
            ReferenceInvalid: It is no reference.
        """
        return await self._caller.call(operations.get_convergence(reference))

    def list_replicas(
        self, reference: str | None = None, *, page_size: int = 0
    ) -> AsyncIterator[ReplicaReport]:
        """Lists live replicas by id, page by page as they are consumed.

        Args:
            reference: The reference they watch; None for any.
            page_size: Reports a page, 1 to 1000; 0 leaves it to the server.
        """
        return self._caller.items(operations.list_replicas(reference, page_size=page_size))

    async def report_replica(self, report: ReplicaReport) -> None:
        """Says what a replica does with a reference now; replaces what it said before.

        Raises:
            ReferenceInvalid: It reports on no reference.
        """
        await self._caller.call(operations.report_replica(report))

    async def get_server_info(self) -> ServerInfo:
        """Asks what server answers."""
        return await self._caller.call(operations.get_server_info())


async def _states(
    updates: AsyncGenerator[WatchUpdate], on_contact: OnContact | None
) -> AsyncIterator[ReferenceState]:
    async with aclosing(updates):
        async for update in updates:
            tell_contact(update, on_contact)
            if isinstance(update, ReferenceState):
                yield update
