"""Who calls, as the domain knows them."""

from __future__ import annotations

from herdbook_server.registry.callers import Caller
from herdbook_server.rpc import calls


def caller() -> Caller:
    """Return who makes the call that this task answers."""
    return Caller(calls.current().actor)
