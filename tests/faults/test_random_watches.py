"""Promise 5: watchers converge, whatever breaks meanwhile."""

from __future__ import annotations

from pathlib import Path

from tests.faults.random_watches import run

ROUNDS = 6


def test_watchers_converge_whatever_breaks(tmp_path: Path, postgres_dsn: str) -> None:
    # A frozen connection is noticed after most of a minute.
    seen = run(tmp_path, postgres_dsn, rounds=ROUNDS, seed=11, freeze_share=0)
    assert seen.faults == []
    assert (seen.rounds, seen.states > ROUNDS, seen.kills + seen.cuts > 0) == (ROUNDS, True, True)
