from __future__ import annotations

import itertools
import statistics

import pytest

from tests.bench.measuring import (
    Comparison,
    Spread,
    go_round,
    percentile,
    take_async_turns,
    take_turns,
)


def test_a_spread_is_the_median_and_the_median_distance_from_it() -> None:
    assert Spread.of([1.0, 2.0, 4.0, 9.0, 100.0]) == Spread(median=4.0, deviation=3.0, count=5)


def test_one_wild_sample_does_not_move_a_spread() -> None:
    assert Spread.of([10.0, 10.0, 10.0, 1e9]) == Spread(median=10.0, deviation=0.0, count=4)


def test_nothing_has_no_spread() -> None:
    with pytest.raises(statistics.StatisticsError):
        Spread.of([])


def compared(subject: tuple[float, ...], baseline: tuple[float, ...]) -> Comparison:
    return Comparison("calls", "calls/s", subject, baseline, "empty call", "higher")


def test_a_ratio_pairs_neighbours_so_that_a_slow_round_cancels_out() -> None:
    halved = compared(subject=(50.0, 5.0, 30.0), baseline=(100.0, 10.0, 60.0))
    assert halved.ratio == Spread(median=0.5, deviation=0.0, count=3)


def test_a_ratio_needs_as_many_samples_on_both_sides() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        _ = compared(subject=(1.0, 2.0), baseline=(1.0,)).ratio


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50.0), (99, 99.0), (99.5, 100.0), (100, 100.0), (0, 1.0)]
)
def test_a_percentile_is_one_of_the_samples(percent: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == expected


def test_a_percentile_of_one_sample_is_that_sample() -> None:
    assert percentile([7.0], 99) == 7.0


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_turns_alternate_and_those_that_warm_up_are_not_counted() -> None:
    order: list[str] = []
    clock = itertools.count()

    def measured(name: str) -> float:
        order.append(name)
        return float(next(clock))

    turns = take_turns(
        baseline=lambda: measured("baseline"), subject=lambda: measured("subject"), rounds=2
    )
    assert order == ["baseline", "subject"] * 3
    assert turns.baseline == (2.0, 4.0)
    assert turns.subject == (3.0, 5.0)


def test_turns_count_from_the_first_on_if_nothing_needs_warming_up() -> None:
    clock = itertools.count()
    turns = take_turns(
        baseline=lambda: float(next(clock)),
        subject=lambda: float(next(clock)),
        rounds=1,
        warm_up=False,
    )
    assert turns.baseline == (0.0,)
    assert turns.subject == (1.0,)


def test_several_things_are_measured_in_the_same_rounds() -> None:
    clock = itertools.count()
    assert go_round([lambda: next(clock)] * 3, rounds=2) == [(0, 3), (1, 4), (2, 5)]


async def test_turns_of_coroutines_alternate_too() -> None:
    clock = itertools.count()

    async def measured() -> float:
        return float(next(clock))

    turns = await take_async_turns(baseline=measured, subject=measured, rounds=2)
    assert turns.baseline == (2.0, 4.0)
    assert turns.subject == (3.0, 5.0)
