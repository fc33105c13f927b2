"""Traces and metrics, by OpenTelemetry; all of it off unless an endpoint is set."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import Tracer

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

SCOPE = "herdbook_server"

DURATION_BOUNDS_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Where the buckets of histograms end; OpenTelemetry's own are made for milliseconds."""

CLOSING_SECONDS = 3.0
"""How long telemetry tries to send its last figures; a collector that is away holds up no stop."""


class TelemetryFailed(Exception):
    """Telemetry that was asked for cannot be had; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where spans and figures go."""

    tracer: Tracer
    meter: Meter
    close: Callable[[], None]
    """Sends what is still held back."""

    def gauge(self, name: str, read: Callable[[], int], *, unit: str, description: str) -> None:
        """Report what `read` returns whenever metrics are collected."""
        self.gauges(name, lambda: {"": read()}, key="", unit=unit, description=description)

    def gauges(
        self,
        name: str,
        read: Callable[[], Mapping[str, int]],
        *,
        key: str,
        unit: str,
        description: str,
    ) -> None:
        """Report each number that `read` returns, under its name as the attribute `key`."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(n, {key: name} if key else {}) for name, n in read().items()]

        self.meter.create_observable_gauge(
            name, callbacks=[observe], unit=unit, description=description
        )


def start(
    otlp_endpoint: str | None, prometheus_address: tuple[str, int] | None
) -> Telemetry | None:
    """Start telemetry; None if nobody asked for any.

    Raises:
        TelemetryFailed: The address for Prometheus cannot be listened at.
    """
    traced = _is_exported("TRACES", otlp_endpoint)
    counted = _is_exported("METRICS", otlp_endpoint)
    if _is_disabled() or not (traced or counted or prometheus_address is not None):
        return None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    resource = _resource()
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    if traced:
        _export_traces(traces, otlp_endpoint)
    readers = [_exporting_reader(otlp_endpoint)] if counted else []
    close_prometheus = _nothing
    if prometheus_address is not None:
        reader, close_prometheus = _prometheus_reader(*prometheus_address)
        readers.append(reader)
    views = [_durations_view()]
    metrics = MeterProvider(readers, resource=resource, views=views, shutdown_on_exit=False)

    def close() -> None:
        _end(traces.shutdown, metrics.shutdown)
        close_prometheus()

    return Telemetry(traces.get_tracer(SCOPE), metrics.get_meter(SCOPE), close)


def _resource() -> Resource:
    """Tell who sends; what OpenTelemetry's variables say of that holds."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = {
        "service.name": "herdbook",
        "service.version": version("herdbook"),
        # Without one, the figures of several workers would be taken for those of one.
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource.create(own).merge(OTELResourceDetector().detect())


def _is_disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _is_exported(signal: str, endpoint: str | None) -> bool:
    """Whether traces or metrics have somewhere to go and are wanted there.

    The variables are those of
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
    """
    exporters = (os.environ.get(f"OTEL_{signal}_EXPORTER") or "otlp").split(",")
    variables = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    wanted = "otlp" in map(str.strip, exporters)
    return wanted and any((endpoint, *map(os.environ.get, variables)))


def _end(*ends: Callable[[], None]) -> None:
    """Run all at once and leave behind what takes too long."""
    threads = [threading.Thread(target=end, daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + CLOSING_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _durations_view() -> View:
    from opentelemetry.sdk.metrics import Histogram
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

    return View(
        instrument_type=Histogram,
        aggregation=ExplicitBucketHistogramAggregation(DURATION_BOUNDS_SECONDS),
    )


def _export_traces(provider: TracerProvider, endpoint: str | None) -> None:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))


def _exporting_reader(endpoint: str | None) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint))


def _prometheus_reader(host: str, port: int) -> tuple[MetricReader, Callable[[], None]]:
    """Serve metrics over HTTP; returns also what ends that."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise TelemetryFailed(
            f"Metrics cannot be served at {host}:{port}: {error.strerror}."
        ) from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return reader, close


def _nothing() -> None:
    """Close what was never opened."""
