"""A hub over both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from herdbook_server.ports.values import Event
from herdbook_server.watch.fleet import Fleet
from herdbook_server.watch.hub import Hub
from herdbook_server.watch.values import Bookmark, ReferenceState, Subscription, Update
from herdbook_server.watch.watcher import Watcher
from tests.unit.registry.conftest import Registry, registry

__all__ = ["registry"]

DEADLINE_SECONDS = 20


class Stream:
    """What one watch tells, read with a deadline."""

    def __init__(self, opening: Callable[[], Awaitable[Watcher]]) -> None:
        self._opening = opening
        self._watcher: Watcher | None = None

    async def next(self) -> Update:
        """The next update; the first call opens the watch."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            self._watcher = self._watcher or await self._opening()
            return await self._watcher.next()

    async def state(self) -> ReferenceState:
        """The next state, past bookmarks."""
        while isinstance(update := await self.next(), Bookmark):
            pass
        return update

    async def initial(self) -> list[ReferenceState]:
        """The states up to the bookmark that ends the initial ones."""
        states = []
        while isinstance(update := await self.next(), ReferenceState):
            states.append(update)
        assert update.initial_done
        return states

    async def until(self, revision: int) -> list[ReferenceState]:
        """The states up to the bookmark that covers a revision."""
        states = []
        while isinstance(update := await self.next(), ReferenceState) or update.revision < revision:
            if isinstance(update, ReferenceState):
                states.append(update)
        return states


class Watching:
    """A running hub and the watches on it."""

    def __init__(
        self, registry: Registry, hub: Hub, fleet: Fleet, told: Sequence[Event] = ()
    ) -> None:
        self.registry = registry
        self.hub = hub
        self.fleet = fleet
        self.told = told
        """Events that the hub has passed on, as they concern a watch."""

    @asynccontextmanager
    async def watch(self, *references: str, **subscription: object) -> AsyncIterator[Stream]:
        """Opens a watch."""
        wanted = Subscription(references=references, **subscription)  # type: ignore[arg-type]
        async with AsyncExitStack() as stack:
            yield Stream(lambda: stack.enter_async_context(self.hub.watching(wanted)))


@pytest.fixture
async def watching(registry: Registry) -> AsyncIterator[Watching]:
    """A hub that follows an empty registry."""
    told: list[Event] = []
    fleet = Fleet(database=registry.database, clock=registry.clock)
    hub = Hub(
        database=registry.database,
        fleet=fleet,
        max_watches=5,
        bookmark_seconds=0.2,
        on_told=[told.extend],
    )
    following = asyncio.create_task(hub.run())
    yield Watching(registry, hub, fleet, told)
    following.cancel()
    await asyncio.wait({following})
