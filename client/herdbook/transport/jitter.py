"""Chance, for spreading load."""

from __future__ import annotations

import random


def jitter() -> float:
    """Returns a random number from 0 to 1, so that clients do not come back together."""
    return random.random()  # noqa: S311  # no secret depends on it
