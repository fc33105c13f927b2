"""Ids that make a repetition of a call the same call."""

from __future__ import annotations

from uuid import uuid4


def new_request_id() -> str:
    """Makes an id that no other call has."""
    return str(uuid4())
