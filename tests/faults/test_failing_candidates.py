"""Promise 6: a candidate that fails, in whatever way, leaves the model that serves in place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.failing_candidates import SCENES, show

SAID = {
    "the loader raises": "load failed: ValueError: no such layer",
    "the loader hangs": "load failed: LoadTimedOut: The candidate was not ready within 1 s.",
    "validation refuses": "validation failed: ValidationFailed: validate returned False.",
    "a chunk is corrupt on the server": "fetch failed: ChunkLost: ",
}


@pytest.mark.parametrize("name", SCENES)
def test_a_failing_candidate_is_seen_everywhere_and_stops_nothing(
    tmp_path: Path, name: str
) -> None:
    shown = show(SCENES[name], tmp_path, tmp_path / "cache")
    assert shown.failures == []
    assert shown.predictions > 0
    assert "version 1 serves" in shown.caller
    assert "serves 1" in shown.fleet
    assert shown.figures.startswith("version 1, behind 1")
    said = SAID.get(name, "")
    assert said in shown.caller
    assert said in shown.fleet
