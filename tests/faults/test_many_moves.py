"""Promise 7: what is moved again and again leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

from tests.faults.many_moves import move_again_and_again

MOVES = 500


def test_moves_leave_no_threads_and_no_open_files_behind(tmp_path: Path) -> None:
    sizes = move_again_and_again(tmp_path, moves=MOVES)
    assert sizes.keys() == {"server", "live model", "sidecar"}
    for name, samples in sizes.items():
        late, early = samples[-1], samples[len(samples) // 2]
        assert late.threads <= early.threads + 4, name
        assert late.files <= early.files + 4, name
