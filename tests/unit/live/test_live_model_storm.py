"""An alias that moves a hundred times under load."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from herdbook.live import LiveModel
from tests.support.waiting import wait_until
from tests.unit.live.registries import REFERENCE, MemoryRegistry, Model, wait_for_text

MOVES = 100
VERSIONS = 5
PAUSE = threading.Event()


class TwoPartModel(Model):
    """Answers with two readings of itself, which agree unless versions were mixed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.parts = [self.text, self.text]

    def predict(self) -> str:
        first = self.parts[0]
        # Others get a chance to swap and close in the middle.
        PAUSE.wait(0.0002)
        second = super().predict()
        assert first == second == self.parts[1]
        return first

    def close(self) -> None:
        super().close()
        self.parts = []


def read_current(live: LiveModel[TwoPartModel]) -> str:
    return live.current.predict()


def read_leased(live: LiveModel[TwoPartModel]) -> str:
    lease = live.lease()
    with lease as model:
        answer = model.predict()
        assert answer == f"text {lease.version}"
    del model
    return answer


@pytest.mark.parametrize("read", [read_current, read_leased])
@pytest.mark.parametrize("every", [True, False], ids=["each move served", "moves overtaken"])
def test_no_prediction_fails_while_the_alias_moves_a_hundred_times(
    registry: MemoryRegistry,
    read: Callable[[LiveModel[TwoPartModel]], str],
    every: bool,  # noqa: FBT001 - a parameter
) -> None:
    # The last move is to a version that no other names: when that serves, nothing is to come.
    *numbers, last = [registry.add(f"text {number}") for number in range(2, VERSIONS + 2)]
    registry.move(numbers[0])
    answers: set[str] = set()
    failures: list[BaseException] = []
    done = threading.Event()
    counts = [0] * 4

    def predict(thread: int) -> None:
        try:
            while not done.is_set():
                answers.add(read(live))
                counts[thread] += 1
        except BaseException as error:
            failures.append(error)
            raise

    with LiveModel(REFERENCE, loader=TwoPartModel) as live:
        threads = [threading.Thread(target=predict, args=(each,)) for each in range(4)]
        for thread in threads:
            thread.start()
        for target in [*itertools.islice(itertools.cycle(numbers), 1, MOVES), last]:
            registry.move(target)
            if every:
                wait_until(lambda: live.version == target, f"version {target} serves")  # noqa: B023
        wait_for_text(live, f"text {last}")
        before = list(counts)
        wait_until(lambda: all(c > b for c, b in zip(counts, before, strict=True)), "all predict")
        done.set()
        for thread in threads:
            thread.join(30)
        assert not failures
        assert Model.made[-1] is live.current
        wait_until(
            lambda: [m.close_count for m in Model.made] == [1] * (len(Model.made) - 1) + [0],
            "the replaced models are closed",
        )
        if every:
            assert live.status().swap_count == MOVES + 1
            assert answers == {f"text {number}" for number in (*numbers, last)}
        assert live.current.predict() == f"text {last}"
    assert all(model.close_count == 1 for model in Model.made)
