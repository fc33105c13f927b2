"""How the texts of options are read."""

from __future__ import annotations

import pytest
import typer

from herdbook.cli.options import metrics_of, pairs_of, parse_duration, parse_share, parse_timeout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("250ms", 0.25),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
    ],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "5 m", "-1s", "5w", "inf", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_duration(text)


def test_a_timeout_leaves_some_time() -> None:
    assert parse_timeout("250ms") == 0.25
    with pytest.raises(typer.BadParameter, match="no time"):
        parse_timeout("0s")


@pytest.mark.parametrize(
    ("text", "share"), [("95%", 0.95), ("0.95", 0.95), ("1", 1.0), ("0%", 0.0)]
)
def test_shares_are_percentages_or_fractions(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", "95", "-1%", "nan", "many", "%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_share(text)


def test_a_value_may_hold_the_sign_that_ends_the_key() -> None:
    assert pairs_of(["query=a=b", "empty="]) == {"query": "a=b", "empty": ""}


@pytest.mark.parametrize("texts", [["novalue"], ["=value"], ["a=1", "a=2"]])
def test_what_is_no_set_of_pairs_is_refused(texts: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        pairs_of(texts)


def test_metrics_are_numbers() -> None:
    assert metrics_of(["rmse=6.1", "n=1e3"]) == {"rmse": 6.1, "n": 1000.0}
    with pytest.raises(typer.BadParameter, match="rmse"):
        metrics_of(["rmse=good"])
