"""The hub, over real databases."""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter

import pytest

from herdbook_server.errors import (
    Draining,
    FieldInvalid,
    ReferenceInvalid,
    TooManyWatches,
    WatchTooWide,
)
from herdbook_server.ports.values import Stage
from herdbook_server.watch.fleet import Fleet
from herdbook_server.watch.hub import BOOKMARK_GROUPS, Hub
from herdbook_server.watch.values import Bookmark, ReferenceState, Replica, Subscription
from tests.unit.registry.conftest import ADA, MODEL, Registry
from tests.unit.watch.conftest import Watching

CHAMPION = f"{MODEL}@champion"


def names(state: ReferenceState) -> tuple[str, int | None]:
    return state.reference, state.resolution.version if state.resolution else None


async def champion(watching: Watching, version: int) -> None:
    await watching.registry.aliases.set(ADA, MODEL, "champion", version)


async def test_a_watch_tells_the_present_state_then_changes(watching: Watching) -> None:
    await watching.registry.register()
    await watching.registry.register()
    await champion(watching, 1)
    async with watching.watch(CHAMPION) as stream:
        (first,) = await stream.initial()
        await champion(watching, 2)
        second = await stream.state()
    assert [names(first), names(second)] == [(CHAMPION, 1), (CHAMPION, 2)]
    assert second.revision > first.revision


async def test_a_reference_that_names_nothing_is_a_state_and_appears_later(
    watching: Watching,
) -> None:
    async with watching.watch(CHAMPION) as stream:
        (missing,) = await stream.initial()
        await watching.registry.register()
        without_alias = await watching.registry.models.get(MODEL)
        other_reason = await stream.state()
        await champion(watching, without_alias.latest_version)
        found = await stream.state()
    assert other_reason.missing_reason == "ALIAS_NOT_FOUND"
    assert (missing.resolution, missing.missing_reason) == (None, "MODEL_NOT_FOUND")
    assert names(found) == (CHAMPION, 1)


async def test_every_kind_of_reference_follows_what_it_names(watching: Watching) -> None:
    await watching.registry.register(label="1.0.0")
    wanted = (MODEL, f"{MODEL}:1.0.0", f"models:/{MODEL}/Production", f"{MODEL}:1")
    async with watching.watch(*wanted) as stream:
        initial = await stream.initial()
        await watching.registry.stages.set(ADA, f"{MODEL}:1", Stage.PRODUCTION)
        staged = await stream.state()
        await watching.registry.register()
        newest = await stream.state()
    assert [state.resolution is not None for state in initial] == [True, True, False, True]
    assert names(staged) == (f"models:/{MODEL}/Production", 1)
    assert names(newest) == (MODEL, 2)


async def test_deleting_and_restoring_a_model_is_told(watching: Watching) -> None:
    await watching.registry.register()
    await champion(watching, 1)
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
        await watching.registry.models.delete(ADA, MODEL, force=True)
        gone = await stream.state()
        await watching.registry.models.restore(ADA, MODEL)
        back = await stream.state()
    assert (names(gone), gone.missing_reason) == ((CHAMPION, None), "MODEL_NOT_FOUND")
    assert names(back) == (CHAMPION, 1)


async def test_changes_elsewhere_are_not_told(watching: Watching) -> None:
    await watching.registry.register()
    await champion(watching, 1)
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
        await watching.registry.register("fraud/other")
        await watching.registry.versions.update(ADA, f"{MODEL}:1", description="new words")
        assert await stream.until(await watching.registry.database.revision()) == []


async def test_events_that_concern_no_watch_are_not_passed_on(watching: Watching) -> None:
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
        await watching.registry.register("fraud/other")
        await stream.until(await watching.registry.database.revision())
        assert list(watching.told) == []
        await watching.registry.register()
        await stream.until(await watching.registry.database.revision())
    assert {event.model for event in watching.told} == {MODEL}


async def test_what_is_known_is_not_told_again(watching: Watching) -> None:
    await watching.registry.register()
    await champion(watching, 1)
    async with watching.watch(CHAMPION) as stream:
        (known,) = await stream.initial()
    async with watching.watch(CHAMPION, known={CHAMPION: known}) as stream:
        assert await stream.initial() == []
    await watching.registry.register()
    await champion(watching, 2)
    async with watching.watch(CHAMPION, known={CHAMPION: known}) as stream:
        assert [names(state) for state in await stream.initial()] == [(CHAMPION, 2)]


async def test_a_prefix_brings_every_alias_below_it_also_later_ones(watching: Watching) -> None:
    await watching.registry.register("fraud/a")
    await watching.registry.aliases.set(ADA, "fraud/a", "champion", 1)
    await watching.registry.register("spam/a")
    await watching.registry.aliases.set(ADA, "spam/a", "champion", 1)
    async with watching.watch(model_prefixes=("fraud/",)) as stream:
        initial = await stream.initial()
        await watching.registry.register("fraud/b")
        await watching.registry.aliases.set(ADA, "fraud/b", "shadow", 1)
        later = await stream.state()
        await watching.registry.aliases.delete(ADA, "fraud/b", "shadow")
        gone = await stream.state()
    assert [names(state) for state in initial] == [("fraud/a@champion", 1)]
    assert [names(later), names(gone)] == [("fraud/b@shadow", 1), ("fraud/b@shadow", None)]


async def test_a_known_alias_below_a_prefix_that_is_gone_is_told(watching: Watching) -> None:
    await watching.registry.register("fraud/a")
    await watching.registry.aliases.set(ADA, "fraud/a", "champion", 1)
    async with watching.watch(model_prefixes=("fraud/",)) as stream:
        (known,) = await stream.initial()
    await watching.registry.aliases.delete(ADA, "fraud/a", "champion")
    async with watching.watch(model_prefixes=("fraud/",), known={known.reference: known}) as stream:
        assert [names(state) for state in await stream.initial()] == [("fraud/a@champion", None)]


async def test_a_watch_is_refused_whose_prefixes_bring_in_too_much(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("herdbook_server.watch.hub.MAX_FOLLOWED", 2)
    await watching.registry.register("fraud/a")
    await watching.registry.register("fraud/b")
    for model, alias in (("fraud/a", "blue"), ("fraud/a", "green"), ("fraud/b", "blue")):
        await watching.registry.aliases.set(ADA, model, alias, 1)
    async with watching.watch(model_prefixes=("fraud/a",)) as stream:
        assert len(await stream.initial()) == 2
    with pytest.raises(WatchTooWide):
        async with watching.watch(model_prefixes=("fraud/a", "fraud/b")) as stream:
            await stream.initial()


async def test_silence_is_broken_by_bookmarks(watching: Watching) -> None:
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
        assert isinstance(await stream.next(), Bookmark)


async def test_draining_ends_watches_and_refuses_new_ones(watching: Watching) -> None:
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
        watching.hub.drain()
        with pytest.raises(Draining):
            await stream.state()
    async with watching.watch(CHAMPION) as stream:
        with pytest.raises(Draining):
            await stream.next()


async def test_a_change_before_the_hub_first_looks_reaches_who_watches_already(
    registry: Registry,
) -> None:
    await registry.register()
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 1)
    fleet = Fleet(database=registry.database, clock=registry.clock)
    watching = Watching(
        registry, Hub(database=registry.database, fleet=fleet, max_watches=1), fleet
    )
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
        await champion(watching, 2)
        following = asyncio.create_task(watching.hub.run())
        assert names(await stream.state()) == (CHAMPION, 2)
    following.cancel()
    await asyncio.wait({following})


async def test_a_hub_that_fails_ends_its_watches_and_runs_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry.register()
    fleet = Fleet(database=registry.database, clock=registry.clock)
    hub = Hub(database=registry.database, fleet=fleet, max_watches=1)
    watching = Watching(registry, hub, fleet)
    async with watching.watch(MODEL) as stream:
        await stream.initial()
        with monkeypatch.context() as broken:
            broken.setattr(hub, "_tell", None)
            await registry.register()
            with pytest.raises(TypeError):
                await hub.run()
        with pytest.raises(Draining):
            await stream.state()
    following = asyncio.create_task(hub.run())
    async with watching.watch(MODEL) as stream:
        assert [names(state) for state in await stream.initial()] == [(MODEL, 2)]
        await registry.register()
        assert names(await stream.state()) == (MODEL, 3)
    following.cancel()
    await asyncio.wait({following})


async def test_a_watch_ends_when_it_is_as_old_as_it_may_be(registry: Registry) -> None:
    fleet = Fleet(database=registry.database, clock=registry.clock)
    hub = Hub(database=registry.database, fleet=fleet, max_watches=1, max_watch_seconds=0.1)
    async with Watching(registry, hub, fleet).watch(CHAMPION) as stream:
        await stream.initial()
        with pytest.raises(Draining):
            await stream.state()


async def test_a_watch_too_many_is_refused_and_a_closed_one_makes_room(
    watching: Watching,
) -> None:
    opened = [watching.watch(CHAMPION) for _ in range(5)]
    for watch in opened:
        stream = await watch.__aenter__()
        await stream.initial()
    async with watching.watch(CHAMPION) as refused:
        with pytest.raises(TooManyWatches):
            await refused.next()
    await opened[0].__aexit__(None, None, None)
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
    for watch in opened[1:]:
        await watch.__aexit__(None, None, None)
    assert watching.hub.watch_count == 0


@pytest.mark.parametrize(
    ("references", "error"),
    [((), FieldInvalid), (("a b@c",), ReferenceInvalid), (("a",) * 1001, FieldInvalid)],
)
async def test_a_watch_of_nothing_or_of_nonsense_is_refused(
    watching: Watching, references: tuple[str, ...], error: type[Exception]
) -> None:
    async with watching.watch(*references) as stream:
        with pytest.raises(error):
            await stream.next()


KNOWN = ReferenceState(CHAMPION, None, 0)


@pytest.mark.parametrize(
    "subscription",
    [
        {"model_prefixes": ("p" * 201,)},
        {"model_prefixes": ("a\0b",)},
        {"model_prefixes": ("a b",)},
        {"model_prefixes": ("é",)},
        {"known": {f"{MODEL}:{number}": KNOWN for number in range(1, 10_002)}},
        {"replica": Replica("", "host", "pod")},
        {"replica": Replica("r" * 201, "host", "pod")},
    ],
)
async def test_a_watch_out_of_bounds_is_refused(
    watching: Watching, subscription: dict[str, object]
) -> None:
    async with watching.watch(CHAMPION, **subscription) as stream:
        with pytest.raises(FieldInvalid):
            await stream.next()


async def test_what_a_watcher_knew_is_kept_until_the_initial_states_are_told_and_no_longer(
    watching: Watching,
) -> None:
    await watching.registry.register()
    await watching.registry.register()
    await champion(watching, 1)
    async with watching.watch(CHAMPION, model_prefixes=("fraud/",)) as stream:
        (known,) = await stream.initial()
    async with watching.watch(model_prefixes=("fraud/",), known={CHAMPION: known}) as stream:
        assert await stream.initial() == []
        (watcher,) = watching.hub._watchers
        assert watcher.subscription.known == {}
        await champion(watching, 2)
        assert names(await stream.state()) == (CHAMPION, 2)


async def test_a_watcher_that_never_reads_misses_nothing_in_the_end(watching: Watching) -> None:
    await watching.registry.register()
    await watching.registry.register()
    await champion(watching, 1)
    async with watching.watch(CHAMPION) as slow, watching.watch(CHAMPION) as quick:
        await slow.initial()
        await quick.initial()
        for number in range(20):
            await champion(watching, 2 - number % 2)
        last = await watching.registry.database.revision()
        told = await quick.until(last)
        caught_up = await slow.until(last)
    assert names(told[-1]) == (CHAMPION, 1)
    assert [names(state) for state in caught_up] in ([], [(CHAMPION, 1)])


async def test_concurrent_moves_reach_every_watcher_in_growing_order(watching: Watching) -> None:
    for _ in range(4):
        await watching.registry.register()
    async with watching.watch(CHAMPION) as stream:
        await stream.initial()
        moves = [champion(watching, 1 + number % 4) for number in range(40)]
        await asyncio.gather(*moves)
        final = await watching.registry.aliases.get(MODEL, "champion")
        seen = await stream.until(final.revision)
    revisions = [state.revision for state in seen]
    assert revisions == sorted(set(revisions))
    assert names(seen[-1]) == (CHAMPION, final.version)


class Known(dict[str, ReferenceState]):
    """What a watcher knows from before, which can be seen to go."""


async def test_a_watch_lets_go_of_what_was_known_before(watching: Watching) -> None:
    known = Known()
    held = weakref.ref(known)
    async with watching.hub.watching(Subscription(references=(CHAMPION,), known=known)):
        del known
        assert held() is None


async def test_bookmarks_stay_spread_while_watches_come_and_go(watching: Watching) -> None:
    groups: Counter[int] = Counter()
    for _ in range(2 * BOOKMARK_GROUPS):
        async with watching.hub.watching(Subscription(references=(CHAMPION,))) as watcher:
            groups[watcher.group] += 1
    assert set(groups.values()) == {2}
