"""What the live models of this process tell OpenTelemetry, where that is installed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache as once
from typing import TYPE_CHECKING, Final, Protocol

from herdbook.errors import HerdbookError
from herdbook.live.status import LiveState, LiveStatus

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

_Read = Callable[[LiveStatus], float | None]


def _behind(status: LiveStatus) -> int | None:
    """Whether what serves is to be replaced; None while nobody has said by what."""
    wanted = status.pinned or status.target
    known = wanted is not None or status.missing_reason
    return int(status.serving != wanted) if known else None


GAUGES: Final[tuple[tuple[str, str, str, _Read], ...]] = (
    (
        "herdbook.live.version",
        "{version}",
        "The number of the version that serves; 0: none does",
        lambda status: 0 if status.serving is None else status.serving.version,
    ),
    (
        "herdbook.live.behind",
        "1",
        "1 if another version serves than the one that should, else 0",
        _behind,
    ),
    (
        "herdbook.live.contact.age",
        "s",
        "How long ago the registry last spoke",
        lambda status: status.contact_age_seconds,
    ),
    (
        "herdbook.live.load.duration",
        "s",
        "How long the model that serves took to load, warm up and validate",
        lambda status: status.load_seconds,
    ),
    (
        "herdbook.live.leases",
        "{lease}",
        "Leases of the model that serves",
        lambda status: status.leases,
    ),
)
"""Name, unit, meaning, and how it is read; None: there is nothing to tell."""

COUNTERS: Final[tuple[tuple[str, str, str, _Read], ...]] = (
    (
        "herdbook.live.swaps",
        "{swap}",
        "Models that have begun to serve",
        lambda status: status.swap_count,
    ),
    (
        "herdbook.live.failures",
        "{failure}",
        "Candidates that have failed",
        lambda status: status.failure_count,
    ),
)


class Observed(Protocol):
    """Something whose status is told."""

    def status(self) -> LiveStatus:
        """Describes what goes on now."""


class LiveFigures:
    """Figures of live models; each is told by what it follows. Thread-safe."""

    def __init__(self, meter: Meter) -> None:
        """Makes the instruments."""
        self._lock = threading.Lock()
        self._observed: weakref.WeakSet[Observed] = weakref.WeakSet()
        for name, unit, meaning, read in GAUGES:
            meter.create_observable_gauge(
                name, callbacks=[self._callback(read)], unit=unit, description=meaning
            )
        for name, unit, meaning, read in COUNTERS:
            meter.create_observable_counter(
                name, callbacks=[self._callback(read)], unit=unit, description=meaning
            )

    def add(self, observed: Observed) -> None:
        """Tells of one more from now on, for as long as it lives and is not closed."""
        with self._lock:
            self._observed.add(observed)

    def _callback(self, read: _Read) -> Callable[[CallbackOptions], list[Observation]]:
        from opentelemetry.metrics import Observation

        def observe(_: CallbackOptions) -> list[Observation]:
            told = ((status.reference, read(status)) for status in self._statuses())
            return [
                Observation(value, {"herdbook.reference": reference})
                for reference, value in told
                if value is not None
            ]

        return observe

    def _statuses(self) -> Iterator[LiveStatus]:
        with self._lock:
            observed = list(self._observed)
        for each in observed:
            # The child of a process that forked has nothing to tell.
            with suppress(HerdbookError):
                status = each.status()
                if status.state is not LiveState.CLOSED:
                    yield status


def observe(observed: Observed) -> None:
    """Has a live model's figures collected from now on; without OpenTelemetry nothing happens."""
    figures = _of_this_process()
    if figures is not None:
        figures.add(observed)


@once
def _of_this_process() -> LiveFigures | None:
    try:
        from opentelemetry.metrics import get_meter
    except ImportError:
        return None
    return LiveFigures(get_meter("herdbook"))
