"""What is measured of watches and of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry.metrics import Meter

from herdbook_server.ports.clock import Clock
from herdbook_server.ports.values import Event
from herdbook_server.telemetry import Telemetry
from herdbook_server.watch.fleet import Fleet
from herdbook_server.watch.hub import Hub


def report_gauges(collected: Telemetry, hub: Hub, fleet: Fleet) -> None:
    """Report how many watches there are, how far they were told, and what replicas do."""
    collected.gauge(
        "herdbook.watches", lambda: hub.watch_count, unit="{watch}", description="Open watches"
    )
    collected.gauge(
        "herdbook.watch.revision",
        lambda: hub.revision,
        unit="{revision}",
        description="The revision up to which this server has followed the record for its watches",
    )
    collected.gauges(
        "herdbook.replicas",
        lambda: fleet.counts,
        key="herdbook.replica.state",
        unit="{replica}",
        description="What live replicas do with references, on any server",
    )


def delay_recorder(meter: Meter, clock: Clock) -> Callable[[Sequence[Event]], None]:
    """Return what records how old events are; to be called when the watches were told."""
    delays = meter.create_histogram(
        "herdbook.watch.delay",
        unit="s",
        description="From a change until this server had told the watches that it or one that "
        "came with it concerns",
    )

    def record(events: Sequence[Event]) -> None:
        now_us = clock.now_us()
        for event in events:
            delays.record(max(0, now_us - event.time_us) / 1_000_000)

    return record
