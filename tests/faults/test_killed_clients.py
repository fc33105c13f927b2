"""A client that is killed again and again sends and fetches little twice."""

from __future__ import annotations

from pathlib import Path

from tests.faults.killed_clients import MIB, push_and_pull
from tests.support.server import Engines, ServerProcess

KILLS = 3


def test_a_killed_client_goes_on_where_it_was(tmp_path: Path) -> None:
    engines = Engines("sqlite+local", {"data": str(tmp_path / "data")}, {})
    with ServerProcess(engines, tmp_path) as server:
        seen = push_and_pull(server, tmp_path, size_bytes=96 * MIB, kills=KILLS)
    assert seen.whole
    # Of each kind of transfer no more than a worker's batch is lost at a kill.
    assert seen.push_bytes < (96 + KILLS * 70) * MIB
    assert seen.pull_bytes < (96 + KILLS * 70) * MIB
