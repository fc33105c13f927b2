"""Promise 2 for the sidecar: whenever it is killed, each link leads to a whole version."""

from __future__ import annotations

from pathlib import Path

import pytest

from herdbook.sidecar import Layout
from tests.faults.killed_sidecars import kill_again_and_again, push_versions
from tests.support.server import Engines, ServerProcess

KILLS = 6


@pytest.mark.parametrize("layout", Layout)
def test_a_killed_sidecar_leaves_a_whole_version(tmp_path: Path, layout: Layout) -> None:
    engines = Engines("sqlite+local", {"data": str(tmp_path / "data")}, {})
    with ServerProcess(engines, tmp_path) as server:
        push_versions(server, tmp_path)
        seen = kill_again_and_again(server, tmp_path, layout, kills=KILLS, seed=7)
    assert seen.faults == []
    assert (seen.kills, seen.converged) == (KILLS, True)
    assert seen.looks > KILLS
