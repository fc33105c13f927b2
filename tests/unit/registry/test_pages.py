"""Page tokens continue their own list and no other."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook_server.errors import FieldInvalid, PageTokenInvalid
from herdbook_server.ports.queries import Found, Position, Query
from herdbook_server.registry.pages import Listing, cut, page_limit
from herdbook_server.registry.sizes import PAGE_MAX_BYTES, search_fitting

LIST = Listing("versions", ("fraud/tc", "number > 1", "number desc", False))
SCALARS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False),
)


@given(st.lists(SCALARS, min_size=1, max_size=4).map(tuple))
def test_a_token_gives_its_position_back_with_the_same_types(position: Position) -> None:
    read = LIST.position(LIST.token(position))
    assert read == position
    assert read is not None
    assert [type(item) for item in read] == [type(item) for item in position]


def test_no_token_is_the_first_page_and_no_position_the_last() -> None:
    assert LIST.position("") is None
    assert LIST.token(None) == ""


@pytest.mark.parametrize(
    "other",
    [
        Listing("versions", ("fraud/tc", "number > 2", "number desc", False)),
        Listing("versions", ("fraud/tc", "number > 1", "", False)),
        Listing("versions", (None, "number > 1", "number desc", False)),
        Listing("versions", ("fraud/tc", "number > 1", "number desc", True)),
        Listing("models", ("fraud/tc", "number > 1", "number desc", False)),
    ],
)
def test_a_token_of_another_list_is_refused(other: Listing) -> None:
    with pytest.raises(PageTokenInvalid):
        LIST.position(other.token((1,)))


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_any_other_text_is_refused_as_a_token(text: str) -> None:
    if text:
        with pytest.raises(PageTokenInvalid):
            LIST.position(text)


@given(st.integers(min_value=0), st.characters())
def test_a_damaged_token_is_refused(place: int, character: str) -> None:
    token = LIST.token((7, "fraud/tc"))
    place %= len(token)
    damaged = token[:place] + character + token[place + 1 :]
    if damaged != token:
        with suppress(PageTokenInvalid):
            # The last character of base64 may hold bits that count for nothing.
            assert LIST.position(damaged) == (7, "fraud/tc")
            assert place == len(token) - 1


@pytest.mark.parametrize(
    "position",
    [{"a": 1}, 7, [[1]], [{}], [True], [2**63], [-(2**70)], [float("nan")], ["a\0b"], ["\ud800"]],
)
def test_a_forged_position_that_no_database_holds_is_refused(position: Any) -> None:
    with pytest.raises(PageTokenInvalid):
        LIST.position(LIST.token(position))


@pytest.mark.parametrize(("asked", "limit"), [(0, 100), (1, 1), (1000, 1000), (2**31 - 1, 1000)])
def test_a_page_has_up_to_a_thousand_items(asked: int, limit: int) -> None:
    assert page_limit(asked) == limit


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        page_limit(-1)


def test_one_row_too_many_tells_that_there_are_more() -> None:
    assert cut([1, 2, 3], 2) == ((1, 2), 2)
    assert cut([1, 2], 2) == ((1, 2), None)
    assert cut([], 2) == ((), None)


async def pages(sizes: list[int], limit: int) -> list[tuple[int, ...]]:
    """Pages of items that are so large; an item is its own position."""

    async def search(query: Query) -> Found[int]:
        start = 0 if query.after is None else int(query.after[0] or 0) + 1
        end = min(start + query.limit, len(sizes))
        return Found(tuple(range(start, end)), (end - 1,) if end < len(sizes) else None)

    found, after = [], None
    while True:
        page = await search_fitting(
            search, Query(None, (), limit, after=after), lambda item: sizes[item]
        )
        found.append(page.items)
        if page.next is None:
            return found
        after = page.next


@given(
    st.lists(st.integers(0, 2 * PAGE_MAX_BYTES) | st.integers(0, 9), max_size=250),
    st.integers(1, 1000),
)
async def test_pages_fit_a_message_and_leave_nothing_out(sizes: list[int], limit: int) -> None:
    found = await pages(sizes, limit)
    assert [item for page in found for item in page] == list(range(len(sizes)))
    for page in found:
        assert len(page) <= limit
        assert sum(sizes[item] for item in page) <= PAGE_MAX_BYTES or len(page) == 1


async def test_light_items_fill_their_page() -> None:
    assert [len(page) for page in await pages([1] * 2500, 1000)] == [1000, 1000, 500]
