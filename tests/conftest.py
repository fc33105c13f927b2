"""Fixtures that every test may ask for, and how Hypothesis runs."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.support.postgres", "tests.support.s3"]

# A busy machine is no failure.
settings.register_profile("herdbook", deadline=None)
settings.load_profile("herdbook")
