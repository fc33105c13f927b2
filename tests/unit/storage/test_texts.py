"""Texts are cut for indexes, and prefixes become ranges, in code point order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from herdbook_server.storage.sql.texts import HEAD, after_prefix, split

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(TEXTS, TEXTS)
def test_a_text_starts_with_a_prefix_if_it_lies_in_the_prefix_range(text: str, prefix: str) -> None:
    end = after_prefix(prefix)
    assert (text >= prefix and (end is None or text < end)) == text.startswith(prefix)


@given(TEXTS)
def test_the_end_of_a_range_can_be_stored(prefix: str) -> None:
    (after_prefix(prefix) or "").encode()


def test_prefixes_of_the_last_characters_have_no_end() -> None:
    assert after_prefix("") is None
    assert after_prefix("\U0010ffff\U0010ffff") is None
    assert after_prefix("a\U0010ffff") == "b"
    assert after_prefix("\ud7ff") == "\ue000"


@given(st.text("ab", min_size=HEAD - 2, max_size=HEAD + 2), st.text("ab", max_size=HEAD + 2))
def test_split_texts_sort_as_the_whole_ones(one: str, other: str) -> None:
    assert (split(one) < split(other)) == (one < other)
    assert "".join(split(one)) == one
