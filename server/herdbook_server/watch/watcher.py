"""One watcher's mailbox.

The latest untold state of each reference, so that a slow reader costs bounded memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from herdbook_server.errors import HerdbookError
from herdbook_server.ports.values import Resolution
from herdbook_server.watch.values import Bookmark, ReferenceState, Subscription, Update


class Watcher:
    """Takes states from the hub and hands them to one stream.

    States of one reference leave in growing revision order.
    """

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self._offered: dict[str, ReferenceState] = {}
        self._pending: dict[str, ReferenceState] = {}
        self._bookmark: Bookmark | None = None
        self._bookmarked = 0
        self._end: HerdbookError | None = None
        self._wake = asyncio.Event()

    def offer(self, state: ReferenceState, *, listed: bool = True) -> None:
        """Queues a state unless the watcher has it, or has a later one, already.

        `listed` is False for references that only a prefix brings in: that one of those is missing
        is news only to a watcher that has seen it.
        """
        last = self._offered.get(state.reference)
        if last is not None and state.revision <= last.revision:
            return
        if last is None and self._knows(state, listed=listed):
            self._offered[state.reference] = state
            return
        self._offered[state.reference] = state
        if last is None or not _same(last, state) or last.missing_reason != state.missing_reason:
            self._pending[state.reference] = state
            self._wake.set()

    def bookmark(self, revision: int, *, initial_done: bool = False) -> None:
        """Queues a bookmark behind the states that are queued now; it replaces one still untold.

        Bookmarks never go back: one that comes late, from a look-up or a hub that is behind, says
        again what the last one said.
        """
        self._bookmarked = max(revision, self._bookmarked)
        first = initial_done or (self._bookmark is not None and self._bookmark.initial_done)
        self._bookmark = Bookmark(self._bookmarked, initial_done=first)
        self._wake.set()

    def forget_known(self) -> None:
        """Lets go of what the watcher had from before.

        To be called when the initial states have been offered: whatever it knew and watches is
        among them, and each later state is compared with those.
        """
        self.subscription = replace(self.subscription, known={})

    def end(self, error: HerdbookError) -> None:
        """Makes `next` raise the error once what is queued has been told."""
        self._end = error
        self._wake.set()

    async def next(self) -> Update:
        """The next update; waits for one. Raises what `end` was given."""
        while True:
            if self._pending:
                return self._pending.pop(next(iter(self._pending)))
            if self._bookmark is not None:
                bookmark, self._bookmark = self._bookmark, None
                return bookmark
            if self._end is not None:
                raise self._end
            self._wake.clear()
            await self._wake.wait()

    def _knows(self, state: ReferenceState, *, listed: bool) -> bool:
        known = self.subscription.known.get(state.reference)
        if known is None:
            return state.resolution is None and not listed
        return _same(known, state)


def _same(left: ReferenceState, right: ReferenceState) -> bool:
    return _names(left.resolution) == _names(right.resolution)


def _names(resolution: Resolution | None) -> tuple[str, int, bytes | None] | None:
    if resolution is None:
        return None
    return resolution.model, resolution.version, resolution.digest
