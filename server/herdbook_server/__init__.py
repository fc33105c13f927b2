"""The Herdbook registry service."""

from __future__ import annotations
