from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from herdbook import Client
from herdbook.core.retrying import Backoff
from herdbook.transfer import persistence
from tests.support.fake_registry import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def client(registry: FakeRegistry) -> Iterator[Client]:
    with Client(registry.server, cache=False, timeout_seconds=20) as made:
        yield made


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three attempts at a server that never answered, ten at one that has, and no waits."""
    monkeypatch.setattr(persistence, "IMPATIENCE", Backoff(0, 0, attempts=3))
    monkeypatch.setattr(persistence, "PATIENCE", Backoff(0, 0, attempts=10))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a large file, a small one, an empty one and one that repeats itself."""
    root = tmp_path / "model"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "large.bin").write_bytes(bytes(range(251)) * 40_000)
    (root / "deep" / "small.txt").write_text("hello")
    (root / "deep" / "er" / "empty").touch()
    (root / "zeros.bin").write_bytes(bytes(9 * 1024 * 1024))
    return root
