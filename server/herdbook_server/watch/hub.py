"""The hub: follows the record once for all watchers of a process.

For every new revision it looks up what the watched references of the touched models name now, and
offers that to their watchers. A state is stamped with a revision that was read before the look-up,
so it may be newer than its stamp but never older; watchers drop what is stamped no later than what
they have. Nothing is lost by that: whatever made the dropped state has a later revision, which the
hub has yet to follow and will stamp as such.

The hub starts to follow at the first revision that it or a watcher reads, so that no watcher is
told a state of before that.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence, Sized
from contextlib import asynccontextmanager, contextmanager

from herdbook_server.errors import (
    DatabaseUnavailable,
    Draining,
    FieldInvalid,
    FieldViolation,
    TooManyWatches,
)
from herdbook_server.ports.database import Database
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import ByAlias, Reference
from herdbook_server.ports.values import Event, EventKind
from herdbook_server.registry import rules
from herdbook_server.registry.references import parse_reference
from herdbook_server.watch.fleet import Fleet, check_replica
from herdbook_server.watch.interest import Interest
from herdbook_server.watch.resolving import Naming, look_up
from herdbook_server.watch.values import ReferenceState, Subscription
from herdbook_server.watch.watcher import MAX_FOLLOWED, Watcher, too_wide

logger = logging.getLogger(__name__)

MAX_REFERENCES = 1000
"""References and prefixes of one watch, as the contract says."""

EVENTS_PER_READ = 1000

BOOKMARK_GROUPS = 10
"""Watchers are sent bookmarks in turns, lest a change wait until thousands of them are sent."""


_TOUCHES_ALL = frozenset(
    {
        EventKind.UNSPECIFIED,
        EventKind.MODEL_DELETED,
        EventKind.MODEL_RESTORED,
        EventKind.VERSION_DELETED,
        EventKind.VERSION_RESTORED,
    }
)
"""What may change any alias of the model; other events name the alias, or change none."""


class Hub:
    """Tells watchers what references name, as it changes. Belongs to one event loop."""

    def __init__(
        self,
        *,
        database: Database,
        fleet: Fleet,
        max_watches: int,
        max_watch_seconds: float | None = None,
        bookmark_seconds: float = 10.0,
        retry_seconds: float = 1.0,
        max_initial_lookups: int = 16,
        on_told: Sequence[Callable[[Sequence[Event]], None]] = (),
    ) -> None:
        """Prepare to follow.

        Each of `on_told` is given events, when watchers that they concern and that waited have
        sent what became of them; others that came with those are among them.
        """
        self._database = database
        self._fleet = fleet
        self._max_watches = max_watches
        self._max_watch_seconds = max_watch_seconds
        self._bookmark_seconds = bookmark_seconds
        self._retry_seconds = retry_seconds
        self._on_told = on_told
        self._lookups = asyncio.Semaphore(max_initial_lookups)
        self._interest = Interest()
        self._watchers: set[Watcher] = set()
        self._groups = itertools.cycle(range(BOOKMARK_GROUPS))
        """Newcomers take turns, too."""
        self._group = 0
        """Whose turn it is."""
        self._revision: int | None = None
        self._draining = False

    @property
    def revision(self) -> int:
        """The revision up to which the record has been followed."""
        return self._revision or 0

    @property
    def watch_count(self) -> int:
        """How many watches are open."""
        return len(self._watchers)

    async def run(self) -> None:
        """Follows the record until cancelled; outlives outages of the database.

        Whatever else goes wrong ends every watch, as nobody knows what was told: watchers that
        come back are told the present state. May be run again then.
        """
        try:
            await self._run()
        except Exception:
            self._revision = None
            for watcher in self._watchers:
                watcher.end(_ended())
            raise

    @asynccontextmanager
    async def watching(self, subscription: Subscription) -> AsyncIterator[Watcher]:
        """A watcher that is told present states, a bookmark, then changes and bookmarks.

        Raises ReferenceInvalid, FieldInvalid, TooManyWatches, WatchTooWide and DatabaseUnavailable.
        The watcher's `next` raises Draining when the server shuts down or the watch is as old as it
        may be.
        """
        references = _parse(subscription)
        watcher = self._admit(subscription, references)
        try:
            async with self._lookups:
                await self._offer_initial(watcher, references)
            watcher.forget_known()
            subscription = watcher.subscription
            async with self._fleet.presence(subscription):
                with self._ageing(watcher):
                    yield watcher
        finally:
            self._watchers.discard(watcher)
            self._interest.remove(watcher, references)

    def drain(self) -> None:
        """Ends every watch with Draining, and refuses new ones."""
        self._draining = True
        for watcher in self._watchers:
            watcher.end(_draining())

    async def _run(self) -> None:
        time = asyncio.get_running_loop().time
        turn_seconds = self._bookmark_seconds / BOOKMARK_GROUPS
        due = time() + turn_seconds
        while True:
            try:
                if self._revision is None:
                    await self._newest()
                revision = self.revision
                await self._database.wait_for_change(revision, timeout_seconds=turn_seconds)
                await self._follow()
                if time() >= due:
                    self._bookmark_next_group()
                    due = time() + turn_seconds
            except DatabaseUnavailable as error:
                logger.warning("The watch hub waits for the database: %s", error)
                await asyncio.sleep(self._retry_seconds)

    async def _newest(self) -> int:
        """The newest revision; the first that is read is where the hub starts to follow."""
        revision = await self._database.revision()
        if self._revision is None:
            self._revision = revision
        return revision

    def _admit(
        self, subscription: Subscription, references: Sequence[tuple[str, Reference]]
    ) -> Watcher:
        if self._draining:
            raise _draining()
        if len(self._watchers) >= self._max_watches:
            raise TooManyWatches(
                f"This server holds {self._max_watches} watches and takes no more.",
                retry_after_seconds=10,
            )
        watcher = Watcher(subscription, group=next(self._groups))
        self._watchers.add(watcher)
        self._interest.add(watcher, references)
        return watcher

    @contextmanager
    def _ageing(self, watcher: Watcher) -> Iterator[None]:
        """Ends a watch that becomes too old within the block."""
        if self._max_watch_seconds is None:
            yield
            return
        # Somewhat older than its connection may be, so that the next watch finds another one.
        seconds = self._max_watch_seconds * random.uniform(1.1, 1.2)  # noqa: S311 - jitter
        timer = asyncio.get_running_loop().call_later(seconds, watcher.end, _ended())
        try:
            yield
        finally:
            timer.cancel()

    async def _offer_initial(
        self, watcher: Watcher, references: Sequence[tuple[str, Reference]]
    ) -> None:
        revision = await self._newest()
        async with self._database.read() as records:
            named = await look_up(records, [reference for _, reference in references])
            for text, reference in references:
                watcher.offer(_state(text, named[reference], revision))
            for reference, naming in (await self._under_prefixes(records, watcher)).items():
                watcher.offer(_state(str(reference), naming, revision))
        watcher.bookmark(revision, initial_done=True)

    async def _under_prefixes(self, records: Records, watcher: Watcher) -> dict[Reference, Naming]:
        prefixes = watcher.subscription.model_prefixes
        wanted: set[Reference] = set()
        for prefix in prefixes:
            found = await records.aliases.under_prefix(prefix, limit=MAX_FOLLOWED + 1)
            wanted.update(ByAlias(alias.model, alias.alias) for alias in found)
            if len(wanted) > MAX_FOLLOWED:
                raise too_wide()
        for text in watcher.subscription.known:
            reference = parse_reference(text)
            if isinstance(reference, ByAlias) and reference.model.startswith(prefixes or ("\0",)):
                wanted.add(reference)
        return await look_up(records, list(wanted))

    async def _follow(self) -> None:
        while True:
            async with self._database.read() as records:
                events = await records.events.after(self.revision, limit=EVENTS_PER_READ)
                if not events:
                    return
                concerned = await self._tell(records, events, revision=events[-1].revision)
            self._revision = events[-1].revision
            if concerned:
                for tell in self._on_told:
                    # Watchers that were woken come first.
                    asyncio.get_running_loop().call_soon(tell, events)

    async def _tell(self, records: Records, events: Sequence[Event], *, revision: int) -> bool:
        """Offers what references name now; returns whether any is watched."""
        models = {event.model for event in events}
        listed = list(self._interest.references(models))
        prefixed = await self._prefixed(records, events)
        named = await look_up(records, list({*listed, *prefixed}))
        for reference in listed:
            for text, watchers in self._interest.watchers(reference):
                # One state for all, which is encoded once.
                state = _state(text, named[reference], revision)
                for watcher in watchers:
                    watcher.offer(state)
        for reference in prefixed:
            state = _state(str(reference), named[reference], revision)
            for watcher in self._interest.prefix_watchers(reference.model):
                watcher.offer(state)
        return bool(listed or prefixed)

    async def _prefixed(self, records: Records, events: Sequence[Event]) -> set[Reference]:
        """Aliases, present and past, that the events may have changed and a prefix brings in."""
        watched = [event for event in events if any(self._interest.prefix_watchers(event.model))]
        touched: set[Reference] = {
            ByAlias(event.model, event.alias) for event in watched if event.alias
        }
        for model in {event.model for event in watched if event.kind in _TOUCHES_ALL}:
            present = await records.aliases.of_model(model, limit=MAX_FOLLOWED + 1)
            touched |= {ByAlias(alias.model, alias.alias) for alias in present}
        return touched

    def _bookmark_next_group(self) -> None:
        self._group = (self._group + 1) % BOOKMARK_GROUPS
        for watcher in self._watchers:
            if watcher.group == self._group:
                watcher.bookmark(self.revision)


def check_counts(references: Sized, model_prefixes: Sized, known: Sized) -> None:
    """How much a watch asks for. Raises FieldInvalid."""
    wanted = len(references) + len(model_prefixes)
    if not 1 <= wanted <= MAX_REFERENCES:
        message = f"A watch names 1 to {MAX_REFERENCES} references and prefixes, not {wanted}."
        raise FieldInvalid(message, fields=[FieldViolation("references", message)])
    rules.check_count(known, field="known", limit=MAX_FOLLOWED)


def _parse(subscription: Subscription) -> list[tuple[str, Reference]]:
    check_counts(subscription.references, subscription.model_prefixes, subscription.known)
    for prefix in subscription.model_prefixes:
        rules.check_name_prefix(prefix, field="model_prefixes")
    if subscription.replica is not None:
        check_replica(subscription.replica)
    return [(text, parse_reference(text)) for text in dict.fromkeys(subscription.references)]


def _state(text: str, naming: Naming, revision: int) -> ReferenceState:
    return ReferenceState(text, naming.resolution, revision, naming.missing_reason)


def _draining() -> Draining:
    return Draining("This server is shutting down: connect again.", retry_after_seconds=1)


def _ended() -> Draining:
    return Draining("This server ends its watches: connect again.", retry_after_seconds=1)
