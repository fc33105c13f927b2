"""Promise 6: a registry that is away stops updates and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.faults.registry_outage import outage


def test_nothing_fails_while_the_registry_is_away(tmp_path: Path) -> None:
    seen = outage(tmp_path, seconds=2)
    assert seen.failures == 0
    assert seen.predictions > 0
    assert seen.noticed
    assert seen.cold_start_seconds > 0
