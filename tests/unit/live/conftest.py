from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from herdbook.live import LiveModel
from herdbook.live.face import LiveFace
from tests.unit.live.registries import REFERENCE, MemoryRegistry, Model


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


@pytest.fixture
def live(registry: MemoryRegistry) -> Iterator[LiveModel[Model]]:
    """A started live model of a registry that also has versions 2 and 3."""
    with LiveModel(REFERENCE, loader=Model) as started:
        for text in ("two", "three"):
            registry.add(text)
        yield started
