from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.machine import Machine
from tests.bench.measuring import Comparison, Fact, Note
from tests.bench.reporting import Result, aim, cells, number, table, write_json

FASTER = Comparison(
    "resolve, 8 in flight",
    "calls/s",
    subject=(600.0, 1200.0, 700.0),
    baseline=(1000.0, 2000.0, 1000.0),
    baseline_name="empty method",
    better="higher",
    aim=0.65,
)
SLOWER = Comparison(
    "moved → told", "ms", (3.0, 3.0), (1.0, 1.5), "unary call", better="lower", aim=3.0
)


def test_a_row_shows_medians_and_spread_and_the_ratio_of_neighbours() -> None:
    assert cells(FASTER) == (
        "resolve, 8 in flight",
        "3",
        "700 ±100 calls/s",
        "1,000 ±0 calls/s (empty method)",
        "0.60 ±0",
        ">= 0.65 missed",
    )


def test_an_aim_of_a_latency_is_met_from_above() -> None:
    assert aim(SLOWER) == "<= 3.00 met"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.0123, "0.012"),
        (0.6, "0.60"),
        (7.125, "7.12"),
        (42.26, "42.3"),
        (1234.5, "1,234"),
        (-3.0, "-3.00"),
    ],
)
def test_numbers_have_about_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_columns_line_up_and_notes_follow() -> None:
    rows = (FASTER, Fact("server's peak memory", 98.76, "MiB"), Note("The database syncs."))
    head, columns, first, second, note = table(Result("resolve", "Look-ups", rows)).splitlines()
    assert head == "resolve: Look-ups"
    assert columns.index("result") == first.index("700") == second.index("98.8 MiB")
    assert note.strip() == "The database syncs."


def test_a_file_holds_every_sample(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, Machine.here(), [Result("resolve", "Look-ups", (FASTER, Note("Noise.")))])
    [result] = json.loads(path.read_text())["results"]
    assert result["rows"][0]["subject"] == [600.0, 1200.0, 700.0]
    assert result["rows"][0]["ratio"]["median"] == 0.6
    assert result["rows"][1] == {"kind": "note", "text": "Noise."}
