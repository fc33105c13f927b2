"""Headings under which the help lists commands."""

from __future__ import annotations

from typing import Final

FILES: Final = "Push and pull"
REGISTRY: Final = "Models and versions"
FLEET: Final = "Watching and the fleet"
SERVER: Final = "Server"
