"""The process that serves: a live model, asked by several threads without a pause.

Every answer is looked up among those that the versions give for the same patient, so that what is
counted does not rest on what the live model says of itself. A line on stdin asks for the counts;
the end of stdin ends the process.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import joblib

import herdbook
from herdbook.cli.demo.training import MODEL_FILE, load_data

_PAUSE_SECONDS = 0.001
"""Between an answer and the next question, as requests come from somewhere."""

AnswersByVersion = Mapping[str, Sequence[float]]


@dataclass(slots=True)
class Tally:
    """What one thread has counted, or all of them together."""

    answers: dict[str, int] = field(default_factory=dict)
    """Answers by the version that gives them."""

    first_answer_at: dict[str, float] = field(default_factory=dict)
    """When a version answered first, on the machine's monotonic clock."""

    unknown: int = 0
    """Answers that no version gives."""

    failed: int = 0
    """Predictions that raised."""

    failure: str = ""
    """The first of these."""

    slowest_seconds: float = 0.0
    """The longest that a prediction took."""

    def count(self, version: str | None, seconds: float) -> None:
        """Counts one answer."""
        self.slowest_seconds = max(self.slowest_seconds, seconds)
        if version is None:
            self.unknown += 1
            return
        if version not in self.answers:
            self.first_answer_at[version] = time.monotonic()
        self.answers[version] = self.answers.get(version, 0) + 1

    def add(self, other: Tally) -> None:
        """Adds what another thread has counted."""
        for version, count in other.answers.copy().items():
            self.answers[version] = self.answers.get(version, 0) + count
        for version, moment in other.first_answer_at.copy().items():
            self.first_answer_at[version] = min(moment, self.first_answer_at.get(version, math.inf))
        self.unknown += other.unknown
        self.failed += other.failed
        self.failure = self.failure or other.failure
        self.slowest_seconds = max(self.slowest_seconds, other.slowest_seconds)


class Load:
    """Threads that ask a live model for predictions until they are stopped."""

    def __init__(self, live: Any, rows: Any, answers: AnswersByVersion) -> None:
        """Takes the live model, the patients to ask about, and what each version answers."""
        self._live = live
        self._rows = rows
        self._answers = answers
        self._stop = threading.Event()
        self._tallies: list[Tally] = []
        self._threads: list[threading.Thread] = []

    def start(self, threads: int) -> None:
        """Starts asking."""
        for _ in range(threads):
            tally = Tally()
            thread = threading.Thread(target=self._ask, args=(tally,))
            self._tallies.append(tally)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stops asking, and waits for the answers under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def report(self) -> str:
        """Returns the counts of all threads as one line of JSON."""
        total = Tally()
        for tally in self._tallies:
            total.add(tally)
        return json.dumps(asdict(total))

    def _ask(self, tally: Tally) -> None:
        for patient in cycle(range(len(self._rows))):
            if self._stop.wait(_PAUSE_SECONDS):
                return
            started = time.monotonic()
            try:
                with self._live.lease() as model:
                    answer = float(model.predict(self._rows[patient : patient + 1])[0])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed prediction
                tally.failed += 1
                tally.failure = tally.failure or repr(error)
                continue
            tally.count(self._version_of(patient, answer), time.monotonic() - started)

    def _version_of(self, patient: int, answer: float) -> str | None:
        for version, answers in self._answers.items():
            if math.isclose(answers[patient], answer, rel_tol=1e-9):
                return version
        return None


def load_model(directory: Path) -> Any:
    """Loads what was pulled; the loader of the live model."""
    return joblib.load(directory / MODEL_FILE)


def main() -> None:
    """Serves until stdin ends."""
    arguments = _arguments()
    answers: AnswersByVersion = json.loads(arguments.answers.read_text())
    live = herdbook.LiveModel(
        arguments.reference,
        loader=load_model,
        server=arguments.server,
        cache_dir=arguments.cache_dir,
    )
    with live:
        load = Load(live, load_data().test_rows, answers)
        load.start(arguments.threads)
        try:
            for _ in sys.stdin:
                print(load.report(), flush=True)
        finally:
            load.stop()
            print(load.report(), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a model under load.")
    parser.add_argument("reference")
    parser.add_argument("--server", required=True)
    parser.add_argument("--cache-dir", required=True, type=Path)
    parser.add_argument("--answers", required=True, type=Path)
    parser.add_argument("--threads", required=True, type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
