"""The mailbox of one watcher."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook_server.errors import Draining, WatchTooWide
from herdbook_server.ports.values import Resolution
from herdbook_server.watch.values import Bookmark, ReferenceState, Subscription
from herdbook_server.watch.watcher import MAX_FOLLOWED, Watcher

REFERENCE = "fraud/tc@champion"
DEADLINE_SECONDS = 20


def state(version: int | None, revision: int, reference: str = REFERENCE) -> ReferenceState:
    if version is None:
        return ReferenceState(reference, None, revision, "ALIAS_NOT_FOUND")
    digest = version.to_bytes(32, "big")
    return ReferenceState(reference, Resolution("fraud/tc", version, digest, "", 1), revision)


def watcher(*known: ReferenceState) -> Watcher:
    return Watcher(
        Subscription(references=(REFERENCE,), known={state.reference: state for state in known})
    )


def below_a_prefix(*known: ReferenceState) -> Watcher:
    return Watcher(
        Subscription(model_prefixes=("fraud/",), known={state.reference: state for state in known})
    )


async def told(watcher: Watcher) -> list[ReferenceState | Bookmark]:
    """Everything that is queued, found by queueing an end behind it."""
    watcher.end(Draining("over"))
    updates = []
    with contextlib.suppress(Draining):
        while True:
            updates.append(await watcher.next())
    return updates


async def test_a_slow_watcher_is_told_only_the_latest_state() -> None:
    mailbox = watcher()
    for revision in range(1, 1001):
        mailbox.offer(state(revision, revision))
    assert await told(mailbox) == [state(1000, 1000)]


async def test_a_state_that_is_known_is_not_told_again() -> None:
    mailbox = watcher(state(7, 3))
    mailbox.offer(state(7, 9))
    assert await told(mailbox) == []


async def test_a_known_state_that_has_changed_is_told() -> None:
    mailbox = watcher(state(7, 3))
    mailbox.offer(state(8, 9))
    assert await told(mailbox) == [state(8, 9)]


async def test_a_known_alias_that_was_deleted_is_told_as_missing() -> None:
    mailbox = below_a_prefix(state(7, 3))
    mailbox.offer(state(None, 9))
    assert await told(mailbox) == [state(None, 9)]


async def test_a_missing_reference_that_was_asked_for_is_told() -> None:
    mailbox = watcher()
    mailbox.offer(state(None, 9))
    assert await told(mailbox) == [state(None, 9)]


async def test_a_missing_alias_below_a_prefix_is_no_news_to_who_never_saw_it() -> None:
    mailbox = below_a_prefix()
    mailbox.offer(state(None, 9))
    assert await told(mailbox) == []


async def test_aliases_that_come_and_go_below_a_prefix_are_not_kept_for_ever() -> None:
    mailbox = below_a_prefix(state(7, 3, "fraud/tc@known"))
    mailbox.offer(state(None, 4, "fraud/tc@known"))
    mailbox.bookmark(4, initial_done=True)
    gone = state(None, 4, "fraud/tc@known")
    assert [await mailbox.next(), await mailbox.next()] == [gone, Bookmark(4, initial_done=True)]
    for number in range(MAX_FOLLOWED + 1):
        reference = f"fraud/tc@try-{number}"
        mailbox.offer(state(1, 2 * number + 5, reference))
        assert await mailbox.next()
        mailbox.offer(state(None, 2 * number + 6, reference))
        assert await mailbox.next() == state(None, 2 * number + 6, reference)
        mailbox.bookmark(2 * number + 6)
        assert await mailbox.next() == Bookmark(2 * number + 6)
    assert await told(mailbox) == []


async def test_what_is_gone_does_not_come_back_by_a_hub_that_is_behind() -> None:
    mailbox = below_a_prefix(state(1, 3))
    mailbox.offer(state(None, 5))
    mailbox.bookmark(5, initial_done=True)
    assert [await mailbox.next(), await mailbox.next()] == [state(None, 5), Bookmark(5, True)]
    mailbox.bookmark(3)
    assert await mailbox.next() == Bookmark(5)
    mailbox.offer(state(2, 4))
    mailbox.offer(state(None, 5))
    assert await told(mailbox) == []


async def test_what_is_gone_is_remembered_until_the_initial_look_up_is_over() -> None:
    mailbox = below_a_prefix()
    mailbox.offer(state(None, 11))
    mailbox.bookmark(11)
    mailbox.offer(state(1, 10))
    mailbox.bookmark(10, initial_done=True)
    assert await told(mailbox) == [Bookmark(11, initial_done=True)]


async def test_a_watch_that_becomes_too_wide_ends_without_telling_more() -> None:
    mailbox = below_a_prefix()
    for number in range(MAX_FOLLOWED + 1):
        mailbox.offer(state(1, 1, f"fraud/tc@a-{number}"))
    mailbox.offer(state(1, 1, "fraud/tc@later"))
    with pytest.raises(WatchTooWide, match="prefixes"):
        await asyncio.wait_for(mailbox.next(), DEADLINE_SECONDS)


async def test_a_bookmark_that_comes_after_the_end_is_not_told() -> None:
    mailbox = watcher()
    mailbox.end(Draining("over"))
    mailbox.bookmark(7, initial_done=True)
    with pytest.raises(Draining):
        await mailbox.next()


async def test_a_watch_whose_aliases_were_all_replaced_is_not_too_wide() -> None:
    known = [state(1, 3, f"fraud/tc@old-{number}") for number in range(MAX_FOLLOWED)]
    mailbox = below_a_prefix(*known)
    for old in known:
        mailbox.offer(state(None, 5, old.reference))
    for number in range(MAX_FOLLOWED):
        mailbox.offer(state(1, 5, f"fraud/tc@new-{number}"))
    assert len(await told(mailbox)) == 2 * MAX_FOLLOWED


async def test_a_watcher_that_falls_behind_what_goes_is_told_to_come_back() -> None:
    mailbox = below_a_prefix()
    for number in range(MAX_FOLLOWED + 1):
        mailbox.offer(state(1, 1, f"fraud/tc@a-{number}"))
        mailbox.offer(state(None, 2, f"fraud/tc@a-{number}"))
    for _ in range(MAX_FOLLOWED + 1):
        assert (await mailbox.next()).revision == 2
    with pytest.raises(Draining):
        await asyncio.wait_for(mailbox.next(), DEADLINE_SECONDS)


async def test_a_state_with_an_older_stamp_is_dropped() -> None:
    mailbox = watcher()
    mailbox.offer(state(8, 9))
    mailbox.offer(state(7, 9))
    mailbox.offer(state(6, 5))
    assert await told(mailbox) == [state(8, 9)]


async def test_a_bookmark_comes_behind_the_states_it_covers() -> None:
    mailbox = watcher()
    mailbox.offer(state(1, 1))
    mailbox.bookmark(1, initial_done=True)
    mailbox.offer(state(2, 2, "fraud/tc@challenger"))
    mailbox.bookmark(2)
    assert await told(mailbox) == [
        state(1, 1),
        state(2, 2, "fraud/tc@challenger"),
        Bookmark(2, initial_done=True),
    ]


async def test_bookmarks_never_go_back() -> None:
    mailbox = watcher()
    mailbox.bookmark(5, initial_done=True)
    mailbox.bookmark(3)
    assert await told(mailbox) == [Bookmark(5, initial_done=True)]


async def test_the_end_of_the_initial_states_is_told_though_the_hub_is_further_on() -> None:
    mailbox = watcher()
    mailbox.bookmark(5)
    mailbox.bookmark(3, initial_done=True)
    assert await told(mailbox) == [Bookmark(5, initial_done=True)]


async def test_that_a_reference_is_missing_for_another_reason_is_told() -> None:
    mailbox = watcher()
    mailbox.offer(ReferenceState(REFERENCE, None, 1, "MODEL_NOT_FOUND"))
    mailbox.offer(state(None, 2))
    mailbox.offer(state(None, 3))
    assert await told(mailbox) == [state(None, 2)]


async def test_a_waiting_watcher_wakes_for_a_state() -> None:
    mailbox = watcher()
    waiting = asyncio.create_task(mailbox.next())
    await asyncio.sleep(0)
    mailbox.offer(state(1, 1))
    assert await waiting == state(1, 1)


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, None]), st.integers(1, 50)), max_size=30))
def test_whatever_is_offered_revisions_grow_and_the_latest_arrives(
    offers: list[tuple[int | None, int]],
) -> None:
    async def scenario() -> None:
        mailbox = watcher()
        seen: list[ReferenceState] = []
        for number, (version, revision) in enumerate(offers):
            mailbox.offer(state(version, revision))
            if number % 3 == 0 and mailbox._pending:
                update = await mailbox.next()
                assert isinstance(update, ReferenceState)
                seen.append(update)
        seen += [update for update in await told(mailbox) if isinstance(update, ReferenceState)]
        revisions = [update.revision for update in seen]
        assert revisions == sorted(set(revisions))
        assert [update.resolution for update in seen[-1:]] == _latest(offers)

    asyncio.run(scenario())


def _latest(offers: list[tuple[int | None, int]]) -> list[Resolution | None]:
    """What the offer with the highest stamp names; of equal stamps the first counts."""
    best = max(offers, key=lambda offer: offer[1], default=None)
    return [] if best is None else [state(*best).resolution]
