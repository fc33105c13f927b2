"""Promise 2 and 10: a killed push leaves nothing half there, and run again it sends the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from herdbook.transfer.pushing import BATCH_BYTES
from herdbook.transfer.workers import WORKERS
from tests.faults.killed_push import MIB, kill_and_push_again
from tests.support.server import Engines, ServerProcess

SIZE_BYTES = 192 * MIB


@pytest.mark.parametrize("kill_server", [True, False], ids=["server and client", "client"])
def test_a_killed_push_sends_the_rest_when_run_again(tmp_path: Path, *, kill_server: bool) -> None:
    engines = Engines("sqlite+local", {"data": str(tmp_path / "data")}, {})
    with ServerProcess(engines, tmp_path) as server:
        seen = kill_and_push_again(server, tmp_path, size_bytes=SIZE_BYTES, kill_server=kill_server)
    assert (seen.versions, seen.whole) == ([1], True)
    assert seen.second_moved_bytes + seen.second_saved_bytes == SIZE_BYTES
    under_way_bytes = WORKERS * BATCH_BYTES
    assert seen.second_saved_bytes >= seen.first_moved_bytes - under_way_bytes > 0
