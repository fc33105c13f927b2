"""How far a reference has reached the fleet, as people and scripts see it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from rich.console import Console

from herdbook.cli.convergence import _picture, convergence_text
from herdbook.core.values import Convergence, Replica, ReplicaReport, ReplicaState
from herdbook.errors import Unavailable
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.test_reading import SOME_TIME

FAILED = ReplicaReport(
    Replica("id-1", host="node-1", name="pod-1"),
    "m@a",
    ReplicaState.FAILED,
    version=7,
    serving_version=6,
    failure="the file\nends early",
    reported_at=SOME_TIME,
)


def reached(
    converged: int, failed: int = 0, replicas: int = 4, target: int | None = 7
) -> Convergence:
    return Convergence(
        reference="m@a",
        target_version=target,
        replica_count=replicas,
        converged_count=converged,
        failed_count=failed,
        pending_count=replicas - converged - failed,
        failures=(FAILED,) * failed,
        serving_counts={7: converged, 6: replicas - converged} if replicas else {},
    )


def test_convergence_is_a_sentence_and_the_failures(herdbook: CommandLine) -> None:
    shown = herdbook("convergence", "m@a", get_convergence=reached(2, failed=1)).stdout
    first, *rest = shown.splitlines()
    assert first == "m@a: 2 of 4 serve version 7, 1 failed, 1 on the way, 2 serve version 6."
    assert "the file ends early" in rest[-1]


def test_a_reference_that_names_nothing_says_so() -> None:
    assert convergence_text(reached(0, replicas=0, target=None)).startswith("m@a names no version")


def test_a_reference_that_nobody_watches_says_so() -> None:
    assert convergence_text(reached(0, replicas=0)) == (
        "m@a names version 7; no live replica watches it."
    )


def test_waiting_ends_when_enough_replicas_serve(
    herdbook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("herdbook.cli.convergence.time.sleep", slept.append)
    answers = iter([reached(0), reached(2), reached(3), reached(4)])
    arguments = ["convergence", "m@a", "--wait", "--min-ready", "75%", "--json"]
    result = herdbook(*arguments, get_convergence=lambda **_: next(answers))
    assert result.exit_code == 0
    assert json.loads(result.stdout)["convergence"]["converged_count"] == 3
    assert len(slept) == 2


def away_after_the_first(answers: Iterator[Any]) -> Any:
    """Gives the answers one by one, after an outage each."""
    away = cycle([False, True, True])

    def answer(**_: Any) -> Any:
        if next(away):
            raise Unavailable("Nobody answers.")
        return next(answers)

    return answer


def test_waiting_goes_on_while_the_server_is_away(
    herdbook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("herdbook.cli.convergence.time.sleep", lambda _: None)
    answers = away_after_the_first(iter([reached(0), reached(4)]))
    result = herdbook("convergence", "m@a", "--wait", get_convergence=answers)
    assert result.exit_code == 0
    assert result.stderr.count("Nobody answers. Waiting for the server.") == 1
    assert result.stderr.count("The server answers again.") == 1


def test_a_server_that_never_answered_is_not_waited_for(herdbook: CommandLine) -> None:
    arguments = ["convergence", "m@a", "--wait"]
    assert herdbook(*arguments, get_convergence=Unavailable("Nobody answers.")).exit_code == 6


def test_a_reference_without_a_target_is_not_waited_for(herdbook: CommandLine) -> None:
    present = reached(0, target=None)
    for arguments in (["m@a"], ["m@a", "--json"], ["m@a", "--wait"]):
        assert herdbook("convergence", *arguments, get_convergence=present).exit_code == 3


@pytest.mark.parametrize("present", [reached(2), reached(0, replicas=0)])
def test_waiting_in_vain_has_its_own_exit_code(herdbook: CommandLine, present: Convergence) -> None:
    arguments = ["convergence", "m@a", "--wait", "--timeout", "0s"]
    result = herdbook(*arguments, get_convergence=present)
    assert result.exit_code == 6


def test_every_replica_is_listed_on_request(herdbook: CommandLine) -> None:
    answers = {"get_convergence": reached(4), "list_replicas": [FAILED]}
    assert "pod-1" in herdbook("convergence", "m@a", "--replicas", **answers).stdout
    document = json.loads(herdbook("convergence", "m@a", "--replicas", "--json", **answers).stdout)
    assert document["converged"] is True
    assert document["replicas"][0]["state"] == "failed"


def test_at_a_terminal_the_picture_has_the_sentence_a_bar_and_some_failures() -> None:
    screen = io.StringIO()
    Console(file=screen, width=100).print(_picture(reached(2, failed=1)))
    sentence, bar, failure = screen.getvalue().splitlines()
    assert sentence.startswith("m@a: 2 of 4 serve version 7, 1 failed")
    assert "━" in bar
    assert "the file ends early" in failure
