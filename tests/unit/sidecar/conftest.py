from __future__ import annotations

from tests.unit.live.conftest import registry

__all__ = ["registry"]
