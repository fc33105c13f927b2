"""One watcher's mailbox.

The latest untold state of each reference, so that a slow reader costs bounded memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from herdbook_server.errors import Draining, HerdbookError, WatchTooWide
from herdbook_server.ports.values import Resolution
from herdbook_server.watch.values import Bookmark, ReferenceState, Subscription, Update

MAX_FOLLOWED = 10_000
"""Aliases that prefixes bring into one watch; as many states as it may know when it resumes."""


class Watcher:
    """Takes states from the hub and hands them to one stream.

    States of one reference leave in growing revision order. A reference that only a prefix brings
    in, and that is gone, is forgotten once the hub has followed past that, so that memory is
    bounded by what exists.
    """

    def __init__(self, subscription: Subscription, *, group: int = 0) -> None:
        self.subscription = subscription
        self.group = group
        """Those of one group are sent bookmarks together."""
        self._listed = frozenset(subscription.references)
        self._settled = False
        """Whether the initial states have been offered: a look-up may bring older ones."""
        self._gone: dict[str, int] = {}
        """By reference, the revision at which it was gone."""
        self._offered: dict[str, ReferenceState] = {}
        self._pending: dict[str, ReferenceState] = {}
        self._bookmark: Bookmark | None = None
        self._bookmarked = 0
        self._end: HerdbookError | None = None
        self._waiting: asyncio.Future[None] | None = None
        """Not an event, which has room for many who wait, and thousands of watchers have one."""

    def offer(self, state: ReferenceState) -> None:
        """Queues a state unless the watcher has it, or has a later one, already.

        That a reference is missing which only a prefix brings in is news only to a watcher that has
        seen it.
        """
        last = self._offered.get(state.reference)
        if self._end is not None or (last is not None and state.revision <= last.revision):
            return
        self._remember(state)
        if not (self._knows(state) if last is None else _says_the_same(last, state)):
            self._pending[state.reference] = state
            self._wake()
        self._check_room()

    def bookmark(self, revision: int, *, initial_done: bool = False) -> None:
        """Queues a bookmark behind the states that are queued now; it replaces one still untold.

        Bookmarks never go back: one that comes late, from a look-up or a hub that is behind, says
        again what the last one said.
        """
        self._bookmarked = max(revision, self._bookmarked)
        if self._end is not None:
            return
        self._settled = self._settled or initial_done
        first = initial_done or (self._bookmark is not None and self._bookmark.initial_done)
        self._bookmark = Bookmark(self._bookmarked, initial_done=first)
        self._wake()
        if self._settled and not initial_done:
            self._forget_gone(revision)

    def forget_known(self) -> None:
        """Lets go of what the watcher had from before.

        To be called when the initial states have been offered: whatever it knew and watches is
        among them, and each later state is compared with those.
        """
        self.subscription = replace(self.subscription, known={})

    def end(self, error: HerdbookError) -> None:
        """Makes `next` raise the error once what is queued has been told."""
        self._end = error
        self._wake()

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
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _remember(self, state: ReferenceState) -> None:
        self._offered[state.reference] = state
        if self._is_gone(state):
            self._gone[state.reference] = state.revision
        else:
            self._gone.pop(state.reference, None)

    def _forget_gone(self, revision: int) -> None:
        """Forgets what was gone by a revision that the hub, which never goes back, has followed."""
        for reference, gone_at in [*self._gone.items()]:
            if gone_at <= revision and reference not in self._pending:
                del self._offered[reference], self._gone[reference]

    def _check_room(self) -> None:
        if len(self._offered) - len(self._gone) - len(self._listed) > MAX_FOLLOWED:
            self._pending.clear()
            self._bookmark = None
            self.end(too_wide())
        elif len(self._gone) > MAX_FOLLOWED:
            self.end(Draining("This watch falls behind: connect again.", retry_after_seconds=1))

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
