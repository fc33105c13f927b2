"""Events: gap-free, in the order of their commits, found by filter."""

from __future__ import annotations

import pytest

from herdbook_server.errors import FieldInvalid, FilterInvalid, PageTokenInvalid
from tests.unit.registry.conftest import ADA, MODEL, Registry


@pytest.fixture
async def busy(registry: Registry) -> Registry:
    """Revision 1 with two events, 2, 3, and 4 of another model."""
    await registry.register()
    await registry.register()
    await registry.aliases.set(ADA, MODEL, "champion", 2, reason="better")
    await registry.models.create(ADA, "other")
    return registry


async def places(registry: Registry, **asked: object) -> list[tuple[int, int]]:
    page = await registry.events.search(**asked)  # type: ignore[arg-type]
    return [(event.revision, event.position) for event in page.items]


async def test_events_come_in_the_order_of_their_commits(busy: Registry) -> None:
    everything = [(1, 0), (1, 1), (2, 0), (3, 0), (4, 0)]
    assert await places(busy) == everything
    assert await places(busy, descending=True) == everything[::-1]
    assert await places(busy, after_revision=2) == [(3, 0), (4, 0)]
    assert await places(busy, model="other") == [(4, 0)]
    assert (await busy.events.search()).revision == 4


async def test_events_are_found_by_filter(busy: Registry) -> None:
    assert await places(busy, filter="kind = ALIAS_SET") == [(3, 0)]
    assert await places(busy, filter='reason = "bet*" OR kind = model_created') == [
        (1, 0),
        (3, 0),
        (4, 0),
    ]
    assert await places(busy, filter="alias:*", after_revision=3) == []
    assert await places(busy, filter="version >= 2 AND time < 2026-01-01") == [(2, 0), (3, 0)]
    with pytest.raises(FilterInvalid):
        await busy.events.search(filter="stage = none")


@pytest.mark.parametrize("direction", ["oldest first", "newest first"])
async def test_pages_of_events_cut_revisions_anywhere(busy: Registry, direction: str) -> None:
    seen, token = [], ""
    descending = direction == "newest first"
    while True:
        page = await busy.events.search(descending=descending, page_size=1, page_token=token)
        seen += [(event.revision, event.position) for event in page.items]
        token = page.next_page_token
        if not token:
            break
    assert seen == await places(busy, descending=descending)


async def test_a_token_holds_for_the_same_question_only(busy: Registry) -> None:
    token = (await busy.events.search(page_size=1)).next_page_token
    for other in (
        {"descending": True},
        {"after_revision": 1},
        {"model": MODEL},
        {"filter": "version = 1"},
    ):
        with pytest.raises(PageTokenInvalid):
            await busy.events.search(page_token=token, **other)  # type: ignore[arg-type]
    with pytest.raises(FieldInvalid):
        await busy.events.search(after_revision=-1)
