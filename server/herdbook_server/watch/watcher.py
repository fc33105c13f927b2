"""One watcher's mailbox.

The latest untold state of each reference, so that a slow reader costs bounded memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from herdbook_server.errors import HerdbookError, WatchTooWide
from herdbook_server.ports.values import Resolution
from herdbook_server.watch.values import Bookmark, ReferenceState, Subscription, Update

MAX_FOLLOWED = 10_000
"""Aliases that prefixes bring into one watch; as many states as it may know when it resumes."""


class Watcher:
    """Takes states from the hub and hands them to one stream.

    States of one reference leave in growing revision order. A reference that only a prefix brings
    in is forgotten once it is told missing, so that memory is bounded by what exists.
    """

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self._listed = frozenset(subscription.references)
        self._settled = False
        self._offered: dict[str, ReferenceState] = {}
        self._pending: dict[str, ReferenceState] = {}
        self._bookmark: Bookmark | None = None
        self._bookmarked = 0
        self._end: HerdbookError | None = None
        self._wake = asyncio.Event()

    def offer(self, state: ReferenceState) -> None:
        """Queues a state unless the watcher has it, or has a later one, already.

        That a reference is missing which only a prefix brings in is news only to a watcher that has
        seen it.
        """
        last = self._offered.get(state.reference)
        if last is not None and state.revision <= last.revision:
            return
        self._offered[state.reference] = state
        if not (self._knows(state) if last is None else _says_the_same(last, state)):
            self._pending[state.reference] = state
            self._wake.set()
        elif self._settled:
            self._forget_if_gone(state)
        if len(self._offered) - len(self._listed) > MAX_FOLLOWED:
            self.end(too_wide())

    def bookmark(self, revision: int, *, initial_done: bool = False) -> None:
        """Queues a bookmark behind the states that are queued now; it replaces one still untold.

        Bookmarks never go back: one that comes late, from a look-up or a hub that is behind, says
        again what the last one said.
        """
        self._bookmarked = max(revision, self._bookmarked)
        first = initial_done or (self._bookmark is not None and self._bookmark.initial_done)
        self._bookmark = Bookmark(self._bookmarked, initial_done=first)
        self._wake.set()

    def settle(self) -> None:
        """Lets go of what the watcher had from before, and of what is gone.

        To be called when the initial states have been offered: whatever it knew and watches is
        among them, each later state is compared with those, and no earlier one comes any more.
        """
        self.subscription = replace(self.subscription, known={})
        self._settled = True
        for state in [*self._offered.values()]:
            if state.reference not in self._pending:
                self._forget_if_gone(state)

    def end(self, error: HerdbookError) -> None:
        """Makes `next` raise the error once what is queued has been told."""
        self._end = error
        self._wake.set()

    async def next(self) -> Update:
        """The next update; waits for one. Raises what `end` was given."""
        while True:
            if self._pending:
                state = self._pending.pop(next(iter(self._pending)))
                if self._settled:
                    self._forget_if_gone(state)
                return state
            if self._bookmark is not None:
                bookmark, self._bookmark = self._bookmark, None
                return bookmark
            if self._end is not None:
                raise self._end
            self._wake.clear()
            await self._wake.wait()

    def _forget_if_gone(self, state: ReferenceState) -> None:
        if self._is_gone(state):
            self._offered.pop(state.reference, None)

    def _is_gone(self, state: ReferenceState) -> bool:
        return state.resolution is None and state.reference not in self._listed

    def _knows(self, state: ReferenceState) -> bool:
        known = self.subscription.known.get(state.reference)
        return self._is_gone(state) if known is None else _same(known, state)


def too_wide() -> WatchTooWide:
    """Makes the refusal of a watch whose prefixes bring in too much."""
    return WatchTooWide(
        f"More than {MAX_FOLLOWED} aliases lie below the prefixes of this watch: "
        "watch longer prefixes, each by a watch of its own, or references."
    )


def _says_the_same(left: ReferenceState, right: ReferenceState) -> bool:
    return _same(left, right) and left.missing_reason == right.missing_reason


def _same(left: ReferenceState, right: ReferenceState) -> bool:
    return _names(left.resolution) == _names(right.resolution)


def _names(resolution: Resolution | None) -> tuple[str, int, bytes | None] | None:
    if resolution is None:
        return None
    return resolution.model, resolution.version, resolution.digest
