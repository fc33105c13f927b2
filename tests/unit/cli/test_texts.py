"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.cli.texts import one_line, printable, relative_time, size_text, value_text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_289_748, "1.2 MiB"),
        (5 << 60, "5120.0 PiB"),
    ],
)
def test_sizes_have_the_unit_that_fits(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(seconds=60), "1 min ago"),
        (timedelta(hours=26), "1 d ago"),
        (timedelta(days=800), "2 y ago"),
        (timedelta(hours=-2), "in 2 h"),
    ],
)
def test_times_are_told_by_their_distance(passed: timedelta, text: str) -> None:
    assert relative_time(NOW - passed, NOW) == text


@given(st.text())
def test_no_text_steers_the_terminal(text: str) -> None:
    shown = printable(text)
    assert all(char in "\n\t" or ord(char) >= 32 for char in shown)
    assert "\x7f" not in shown
    assert "\x9b" not in shown


def test_harmless_text_stays_as_it_is() -> None:
    assert printable("Größe: 3 µm\n\tzweite Zeile 模型") == "Größe: 3 µm\n\tzweite Zeile 模型"


def test_an_escape_sequence_is_defused() -> None:
    assert printable("\x1b[2Jgone") == "�[2Jgone"


def test_several_lines_become_one() -> None:
    assert one_line("first\n\n  second\tthird ") == "first second third"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (6.123456789, "6.12346"),
        (7, "7"),
        ("a", "a"),
        ([1, "b"], '[1, "b"]'),
    ],
)
def test_fields_of_any_kind_are_written(value: object, text: str) -> None:
    assert value_text(value) == text
