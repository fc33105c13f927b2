"""Moves bytes: one engine on threads for both clients."""

from __future__ import annotations
