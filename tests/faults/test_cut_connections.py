"""Connections that are cut again and again cost neither a transfer nor much of its bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cut_connections import Line, push_and_pull
from tests.faults.killed_push import MIB
from tests.support.server import Engines, ServerProcess

SIZE_BYTES = 96 * MIB
CUTS = 6
LOST_BY_A_CUT_BYTES = 32 * MIB
"""What four streams may have under way, with the buffers of both sides and of the proxy."""


@pytest.mark.parametrize("seed", range(2))
def test_a_transfer_ends_well_however_often_its_connection_is_cut(
    tmp_path: Path, seed: int
) -> None:
    engines = Engines("sqlite+local", {"data": str(tmp_path / "data")}, {})
    with ServerProcess(engines, tmp_path) as server:
        seen = push_and_pull(server, tmp_path, Line(CUTS), size_bytes=SIZE_BYTES, seed=seed)
    assert seen.whole
    for passed in (seen.push, seen.pull):
        assert passed.cuts == CUTS
        assert passed.moved_bytes < SIZE_BYTES + CUTS * LOST_BY_A_CUT_BYTES


def test_a_transfer_ends_well_over_a_line_that_is_long_and_slow(tmp_path: Path) -> None:
    engines = Engines("sqlite+local", {"data": str(tmp_path / "data")}, {})
    line = Line(cuts=1, delay_seconds=0.05, bytes_per_second=10 * MIB)
    with ServerProcess(engines, tmp_path) as server:
        seen = push_and_pull(server, tmp_path, line, size_bytes=16 * MIB)
    assert seen.whole
