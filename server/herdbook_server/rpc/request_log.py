"""The layer that logs calls."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from herdbook_server.rpc.calls import Call

logger = logging.getLogger("herdbook_server.requests")

_READS = ("Check", "Find", "Get", "List", "Resolve", "ServerReflection")
_OURS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNKNOWN})


class RequestLog:
    """Logs each call when it is over, with method, actor, peer, status and duration.

    Reads that succeed are DEBUG, since there are thousands a second; all else is INFO, and what
    points at a fault of the server WARNING.
    """

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Log the call when it is over."""
        began = time.perf_counter()
        try:
            yield
        finally:
            level = _level(call)
            if logger.isEnabledFor(level):
                _log(call, level, time.perf_counter() - began)


def _level(call: Call) -> int:
    if call.code in _OURS:
        return logging.WARNING
    name = call.method.rpartition("/")[2]
    return logging.DEBUG if _is_ok(call) and name.startswith(_READS) else logging.INFO


def _is_ok(call: Call) -> bool:
    return call.code is grpc.StatusCode.OK


def _log(call: Call, level: int, seconds: float) -> None:
    fields = {
        "method": call.method.lstrip("/"),
        "actor": call.actor,
        "peer": call.context.peer(),
        "code": call.code.name,
        "reason": call.reason,
        "duration_seconds": round(seconds, 6),
        "received_bytes": call.received_bytes,
        "sent_bytes": call.sent_bytes,
    }
    logger.log(level, "call", extra={"fields": fields})
