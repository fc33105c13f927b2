from __future__ import annotations

from pathlib import Path

import pytest

from herdbook.live.face import LiveFace
from tests.unit.live.registries import MemoryRegistry, Model


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryRegistry:
    """A registry that every live model of the test talks to, with version 1 as champion."""
    made = MemoryRegistry()
    made.add("one")
    made.move(1)
    monkeypatch.setattr(LiveFace, "_registry", lambda _: made)
    monkeypatch.setenv("HERDBOOK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(Model, "made", [], raising=False)
    return made
