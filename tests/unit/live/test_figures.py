from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from herdbook.live import LiveModel, figures
from herdbook.live.figures import COUNTERS, GAUGES, LiveFigures
from tests.support.waiting import wait_until
from tests.unit.live.registries import REFERENCE, MemoryRegistry, Model, wait_for_text


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """Reads what the live models of the test tell."""
    reader = InMemoryMetricReader()
    made = LiveFigures(MeterProvider([reader]).get_meter("test"))
    monkeypatch.setattr(figures, "_of_this_process", lambda: made)
    return reader


def told(reader: InMemoryMetricReader) -> dict[str, float]:
    """Returns each figure's value, all of one live model."""
    data = reader.get_metrics_data()
    points: dict[str, float] = {}
    for resource in [] if data is None else data.resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            for point in metric.data.data_points:
                assert isinstance(point, NumberDataPoint)
                assert point.attributes == {"herdbook.reference": REFERENCE}
                points[metric.name] = point.value
    return points


def test_figures_follow_the_live_model(
    reader: InMemoryMetricReader, registry: MemoryRegistry
) -> None:
    registry.add("two")
    with LiveModel(REFERENCE, loader=Model) as live:
        assert told(reader).keys() == {name for name, *_ in (*GAUGES, *COUNTERS)}
        assert told(reader)["herdbook.live.version"] == 1
        registry.move(2)
        wait_for_text(live, "two")
        with live.lease():
            figures_now = told(reader)
        assert figures_now["herdbook.live.version"] == 2
        assert figures_now["herdbook.live.swaps"] == 2
        assert figures_now["herdbook.live.leases"] == 1
        assert figures_now["herdbook.live.behind"] == 0
    assert told(reader) == {}


def test_a_candidate_that_fails_shows(
    reader: InMemoryMetricReader, registry: MemoryRegistry
) -> None:
    registry.add("broken two")
    with LiveModel(REFERENCE, loader=Model):
        registry.move(2)
        wait_until(lambda: told(reader)["herdbook.live.failures"] == 1, "the failure is told")
        assert told(reader)["herdbook.live.behind"] == 1
        assert told(reader)["herdbook.live.version"] == 1


def test_nothing_is_behind_what_nobody_has_named(
    reader: InMemoryMetricReader, registry: MemoryRegistry
) -> None:
    with LiveModel(REFERENCE, loader=Model):
        wait_until(lambda: "herdbook.live.behind" in told(reader), "it is told")
    registry.break_down()
    with LiveModel(REFERENCE, loader=Model):
        assert "herdbook.live.behind" not in told(reader)
        assert told(reader)["herdbook.live.version"] == 1


def test_without_opentelemetry_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    assert figures._of_this_process.__wrapped__() is None
