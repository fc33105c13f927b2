"""The layer that traces and counts calls."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

import grpc
from opentelemetry import propagate
from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from herdbook_server.rpc.calls import Call

_ENDLESS = ("/WatchAliases", "/Watch", "/ServerReflectionInfo")
"""Last as long as callers want: no span stays open that long, and durations say nothing."""

_FAULTS = frozenset(
    {
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)


class Measuring:
    """One span a call, joined to the caller's trace, and figures of all calls."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._durations = meter.create_histogram(
            "rpc.server.call.duration", unit="s", description="How long calls took"
        )
        self._received = meter.create_counter(
            "herdbook.rpc.received", unit="By", description="Bytes of messages that came in"
        )
        self._sent = meter.create_counter(
            "herdbook.rpc.sent", unit="By", description="Bytes of messages that went out"
        )
        self._watches = meter.create_up_down_counter(
            "herdbook.rpc.endless_calls", unit="{call}", description="Watches that are open"
        )

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Measure a call."""
        if call.method.endswith(_ENDLESS):
            async with self._around_endless(call):
                yield
            return
        began = time.perf_counter()
        with self._span(call) as span:
            try:
                yield
            finally:
                self._durations.record(time.perf_counter() - began, _attributes(call))
                self._count_bytes(call)
                _conclude(span, call)

    @asynccontextmanager
    async def _around_endless(self, call: Call) -> AsyncIterator[None]:
        attributes = {"rpc.method": call.method.lstrip("/")}
        with self._span(call):
            self._watches.add(1, attributes)
        try:
            yield
        finally:
            self._watches.add(-1, attributes)
            self._count_bytes(call)

    def _span(self, call: Call) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(
            call.method.lstrip("/"),
            context=propagate.extract(call.metadata),
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "herdbook.request_id": call.request_id},
            record_exception=False,
            set_status_on_exception=False,
        )

    def _count_bytes(self, call: Call) -> None:
        attributes = {"rpc.method": call.method.lstrip("/")}
        self._received.add(call.received_bytes, attributes)
        self._sent.add(call.sent_bytes, attributes)


def _attributes(call: Call) -> dict[str, str]:
    return {"rpc.method": call.method.lstrip("/"), "rpc.response.status_code": call.code.name}


def _conclude(span: Span, call: Call) -> None:
    span.set_attribute("rpc.response.status_code", call.code.name)
    span.set_attribute("herdbook.actor", call.actor)
    if call.reason:
        span.set_attribute("error.type", call.reason)
    if call.code in _FAULTS:
        span.set_status(StatusCode.ERROR, call.reason)
