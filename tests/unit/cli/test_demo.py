"""The parts of the demonstration that judge it."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import pytest
from rich.console import Console

from herdbook.cli.demo.narration import Narrator
from herdbook.cli.demo.processes import Counts, DemoBroken, await_that
from herdbook.cli.demo.serving import Load, Tally, load_model
from herdbook.cli.demo.training import load_data, spoil, train_both


def narrator() -> tuple[Narrator, io.StringIO]:
    heard = io.StringIO()
    return Narrator(Console(file=heard, width=200)), heard


def test_a_broken_promise_is_remembered_to_the_end() -> None:
    told, heard = narrator()
    told.promise("the sun rises", kept=True)
    told.promise("pigs fly", kept=False)
    assert told.broken == ("pigs fly",)
    assert told.close() is False
    assert heard.getvalue().count("✗ pigs fly") == 2


def test_the_end_is_good_if_all_promises_are_kept() -> None:
    told, heard = narrator()
    told.promise("the sun rises", kept=True)
    assert told.close() is True
    assert "All 1 promises kept" in heard.getvalue()


def test_counts_of_threads_add_up() -> None:
    total, one, other = Tally(), Tally(), Tally(failed=1, failure="oh", slowest_seconds=2.0)
    one.count("1", 0.5)
    one.count("2", 0.1)
    other.count("2", 0.1)
    other.count(None, 0.1)
    total.add(one)
    total.add(other)
    counts = Counts.parse(json.dumps(asdict(total)))
    assert counts.answers == {1: 1, 2: 2}
    assert (counts.total, counts.of(2), counts.of(3)) == (3, 2, 0)
    assert (counts.unknown, counts.failed, counts.failure) == (1, 1, "oh")
    assert counts.slowest_seconds == 2.0
    assert counts.first_answer_at[2] == one.first_answer_at["2"]
    assert not counts.flawless


class Serving:
    """Stands for a live model."""

    def __init__(self, predict: Any) -> None:
        self.predict = predict

    def lease(self) -> Serving:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def reported(predict: Any, wanted: str) -> Counts:
    """Asks a model until something of the wanted kind is counted."""
    load = Load(Serving(predict), [[1.0], [2.0]], {"7": [10.0, 20.0]})
    load.start(2)
    try:
        await_that(lambda: json.loads(load.report())[wanted], wanted)
    finally:
        load.stop()
    return Counts.parse(load.report())


def test_an_answer_is_counted_for_the_version_that_gives_it() -> None:
    counts = reported(lambda rows: [rows[0][0] * 10], "answers")
    assert counts.flawless
    assert set(counts.answers) == {7}


def test_an_answer_that_no_version_gives_is_wrong() -> None:
    counts = reported(lambda rows: [rows[0][0] * 11], "unknown")
    assert counts.unknown > 0
    assert not counts.flawless


def test_a_prediction_that_raises_has_failed() -> None:
    def predict(rows: Any) -> Any:
        raise RuntimeError("no model")

    counts = reported(predict, "failed")
    assert counts.failure == "RuntimeError('no model')"
    assert not counts.flawless


def test_both_kinds_of_model_are_trained_saved_and_told_apart(tmp_path: Path) -> None:
    data = load_data()
    trained = list(train_both(data, tmp_path))
    answers = [one.estimator.predict(data.test_rows) for one in trained]
    assert abs(answers[0] - answers[1]).min() > 1e-6
    spread = data.test_targets.std()
    for one, given in zip(trained, answers, strict=True):
        assert one.rmse < spread
        assert (load_model(one.directory).predict(data.test_rows) == given).all()


def test_half_a_model_cannot_be_loaded(tmp_path: Path) -> None:
    for one in train_both(load_data(), tmp_path):
        spoil(one.directory, tmp_path / f"half-{one.name}")
        with pytest.raises((EOFError, IndexError, ValueError, UnpicklingError)):
            load_model(tmp_path / f"half-{one.name}")


def test_what_never_happens_breaks_the_demo() -> None:
    with pytest.raises(DemoBroken, match="pigs fly"):
        await_that(lambda: False, "pigs fly", seconds=0.05)
