"""Traces and metrics leave the server as OpenTelemetry and Prometheus expect them."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from herdbook.v1 import alias_pb2, version_pb2
from tests.support.ports import LOOPBACK, free_port
from tests.support.server import Engines, ServerProcess
from tests.support.stubs import Stubs, unique
from tests.support.waiting import wait_until

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/herdbook.json"
WATCH = "herdbook.v1.AliasService/WatchAliases"


class Traces(traces_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent; unless it is open, it answers nobody."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.senders: dict[str, str] = {}
        """The names of those who sent, by the ids of their instances."""
        self.open = threading.Event()
        self.open.set()

    def Export(self, request, context):  # noqa: N802 - OpenTelemetry names it
        self.open.wait()
        for resource in request.resource_spans:
            said = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.senders[said["service.instance.id"]] = said["service.name"]
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return traces_pb2.ExportTraceServiceResponse()


class Metrics(metrics_grpc.MetricsServiceServicer):
    """Remembers that it was sent something."""

    def __init__(self) -> None:
        self.came = False

    def Export(self, request, context):  # noqa: N802 - OpenTelemetry names it
        self.came = True
        return metrics_pb2.ExportMetricsServiceResponse()


class Collector:
    """What an OpenTelemetry collector is to a server."""

    def __init__(self) -> None:
        self.traces, self.metrics = Traces(), Metrics()
        self._server = grpc.server(ThreadPoolExecutor(2))
        traces_grpc.add_TraceServiceServicer_to_server(self.traces, self._server)
        metrics_grpc.add_MetricsServiceServicer_to_server(self.metrics, self._server)
        self.endpoint = f"http://{LOOPBACK}:{self._server.add_insecure_port(f'{LOOPBACK}:0')}"
        self._server.start()

    @property
    def signals(self) -> set[str]:
        """The kinds of telemetry that came."""
        came = {"traces": bool(self.traces.spans), "metrics": self.metrics.came}
        return {signal for signal, has_come in came.items() if has_come}

    def close(self) -> None:
        """Answer whoever waits, and stop."""
        self.traces.open.set()
        self._server.stop(None).wait()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with closing(Collector()) as running:
        yield running


def told(engines: Engines, **variables: str) -> Engines:
    """The engines, with more in the server's environment."""
    return dataclasses.replace(engines, environment={**engines.environment, **variables})


ALL = "OTEL_EXPORTER_OTLP_ENDPOINT"
ASKED: Mapping[str, tuple[Mapping[str, str], set[str]]] = {
    "everything": ({ALL: ""}, {"traces", "metrics"}),
    "traces alone": ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""}, {"traces"}),
    "metrics alone": ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ""}, {"metrics"}),
    "no traces": ({ALL: "", "OTEL_TRACES_EXPORTER": "none"}, {"metrics"}),
    "no metrics": ({ALL: "", "OTEL_METRICS_EXPORTER": "none"}, {"traces"}),
    "nothing": ({ALL: "", "OTEL_SDK_DISABLED": "true"}, set()),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_each_signal_goes_where_the_variables_of_opentelemetry_say(
    embedded_engines: Engines,
    tmp_path: Path,
    collector: Collector,
    asked: tuple[Mapping[str, str], set[str]],
) -> None:
    variables, signals = asked
    given = {name: to or collector.endpoint for name, to in variables.items()}
    with ServerProcess(told(embedded_engines, **given), tmp_path) as server:
        with Stubs(server.address) as stubs:
            stubs.refer("m")
        assert server.terminate() == 0
    assert collector.signals == signals
    assert "Failed to export" not in server.read_log()


def test_a_collector_that_does_not_answer_holds_up_no_stop(
    embedded_engines: Engines, tmp_path: Path, collector: Collector
) -> None:
    collector.traces.open.clear()
    patient = told(embedded_engines, OTEL_EXPORTER_OTLP_TIMEOUT="3600")
    with ServerProcess(patient, tmp_path, otlp_endpoint=collector.endpoint) as server:
        with Stubs(server.address) as stubs:
            stubs.refer("m")
        assert server.terminate() == 0


def attributes(span: Span) -> dict[str, str]:
    return {entry.key: entry.value.string_value for entry in span.attributes}


def test_a_call_is_a_span_of_the_callers_trace(
    engines: Engines, tmp_path: Path, collector: Collector
) -> None:
    with ServerProcess(engines, tmp_path, otlp_endpoint=collector.endpoint) as server:
        with Stubs(server.address) as stubs:
            request = version_pb2.ResolveReferenceRequest(reference="fraud/tc")
            metadata = [("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-01")]
            with pytest.raises(grpc.RpcError):
                stubs.versions.ResolveReference(request, metadata=metadata)
        server.terminate()
    span = next(span for span in collector.traces.spans if span.name.endswith("ResolveReference"))
    assert span.trace_id.hex() == TRACE_ID
    assert attributes(span)["rpc.response.status_code"] == "NOT_FOUND"
    assert attributes(span)["error.type"] == "MODEL_NOT_FOUND"
    assert attributes(span)["herdbook.request_id"]


def test_servers_are_told_apart_and_named_as_the_variables_say(
    embedded_engines: Engines, tmp_path: Path, collector: Collector
) -> None:
    for names in ({}, {"OTEL_SERVICE_NAME": "registry"}):
        with ServerProcess(
            told(embedded_engines, **names), tmp_path, otlp_endpoint=collector.endpoint
        ) as server:
            with Stubs(server.address) as stubs:
                stubs.refer(unique("m"))
            server.terminate()
    assert sorted(collector.traces.senders.values()) == ["herdbook", "registry"]


def test_a_watch_is_a_span_that_ends_at_once(
    embedded_engines: Engines, tmp_path: Path, collector: Collector
) -> None:
    with ServerProcess(embedded_engines, tmp_path, otlp_endpoint=collector.endpoint) as server:
        with Stubs(server.address) as stubs:
            watch = stubs.aliases.WatchAliases(alias_pb2.WatchAliasesRequest(references=["m@a"]))
            next(watch)
            stubs.refer("m")
            watch.cancel()
        server.terminate()
    spans = {span.name: span for span in collector.traces.spans}
    registered = spans["herdbook.v1.VersionService/RegisterVersion"]
    assert spans[WATCH].end_time_unix_nano < registered.start_time_unix_nano


def test_prometheus_finds_figures_of_calls_database_and_store(
    engines: Engines, tmp_path: Path
) -> None:
    metrics = f"{LOOPBACK}:{free_port()}"
    with (
        ServerProcess(engines, tmp_path, prometheus_listen=metrics) as server,
        Stubs(server.address) as stubs,
    ):
        model = unique("measured")
        watched = alias_pb2.WatchAliasesRequest(references=[f"{model}@champion"])
        watch = stubs.aliases.WatchAliases(watched)
        next(watch)
        stubs.push(model, bytes(1000))
        wait_until(
            lambda: has(scraped(metrics), "herdbook_watch_delay_seconds_count"), "the push is told"
        )
        lines = scraped(metrics)
        watch.cancel()
    assert has(lines, "rpc_server_call_duration_seconds_count", "UploadChunks", "OK")
    assert any("duration_seconds_bucket" in line and 'le="0.0025"' in line for line in lines)
    assert has(lines, "herdbook_rpc_received_bytes_total", "UploadChunks")
    assert has(lines, "herdbook_rpc_sent_bytes_total", "RegisterVersion")
    assert has(lines, "herdbook_database_duration_seconds_count", 'operation="write"')
    assert has(lines, "herdbook_chunk_store_bytes_total", 'operation="put"')
    assert has(lines, "herdbook_watches", " 1.0")
    assert [name for name in shown() if not any(line.startswith(name) for line in lines)] == []


def scraped(address: str) -> list[str]:
    """The figures that Prometheus finds."""
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        text = response.read().decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def shown() -> list[str]:
    """The metrics on the dashboard."""
    expressions = [
        target["expr"]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]
    names = {re.search(r"\w+(?=\{)", expression) for expression in expressions}
    return sorted(found[0] for found in names if found)


def has(lines: list[str], *words: str) -> bool:
    """Whether a line holds all the words, and no zero."""
    return any(all(word in line for word in words) and not line.endswith(" 0.0") for line in lines)


def test_a_metrics_port_that_is_taken_is_told_in_a_line(
    embedded_engines: Engines, tmp_path: Path
) -> None:
    with ServerProcess(embedded_engines, tmp_path) as first:
        second = ServerProcess(
            embedded_engines, tmp_path, data=str(tmp_path / "b"), prometheus_listen=first.address
        )
        second.launch()
        assert second.process.wait(60) == 1
        assert "Metrics cannot be served" in second.read_log()
        assert len(second.read_log().splitlines()) == 1
