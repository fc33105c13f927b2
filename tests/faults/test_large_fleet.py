"""What convergence says is exact, on every server, and outlives servers and replicas."""

from __future__ import annotations

from pathlib import Path

from tests.faults.large_fleet import observe


def test_counts_are_exact_whatever_dies(tmp_path: Path, postgres_dsn: str) -> None:
    seen = observe(tmp_path, postgres_dsn, replicas=40, steady_seconds=2)
    assert seen.exit_code == 0
    assert [(a.replica_count, a.converged_count, a.failed_count) for a in seen.answers] == [
        (40, 38, 2),
        (40, 38, 2),
    ]
    assert seen.reasons == 2
    assert seen.steady == {(40, 38, 2)}
