"""Tells the registry what this replica does, without holding anybody up."""

from __future__ import annotations

import threading
from collections.abc import Callable

from herdbook.core.retrying import Backoff
from herdbook.core.values import ReplicaReport
from herdbook.errors import ClientClosed, DeadlineExceeded, HerdbookError, Unavailable
from herdbook.live import log
from herdbook.transport.jitter import jitter

_BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)
_PASSING = (Unavailable, DeadlineExceeded, ClientClosed)


class Reporter:
    """Sends the latest report from a thread of its own; what is overtaken is not sent."""

    def __init__(self, send: Callable[[ReplicaReport], None]) -> None:
        """Will send by `send`, which may raise and may take its time."""
        self._send = send
        self._changed = threading.Condition()
        self._latest: ReplicaReport | None = None
        self._pending = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="herdbook-report", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def say(self, report: ReplicaReport) -> None:
        """Has a report sent soon."""
        with self._changed:
            self._latest = report
            self._pending = True
            self._changed.notify()

    def repeat(self) -> None:
        """Has the last report sent again: the registry may have forgotten it."""
        with self._changed:
            self._pending = self._latest is not None
            self._changed.notify()

    def close(self, *, flush_seconds: float) -> None:
        """Ends the thread when the last report is sent, or after a while without that."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(flush_seconds)

    def _run(self) -> None:
        failures, told = 0, False
        while True:
            report = self._next(failures)
            if report is None:
                return
            try:
                self._send(report)
                failures, told = 0, False
            except HerdbookError as error:
                lasting = not isinstance(error, _PASSING)
                tell = log.warning if lasting and not told else log.debug
                tell("The registry did not take a report: %s", error)
                failures, told = failures + 1, told or lasting
                self._again(report)

    def _next(self, failures: int) -> ReplicaReport | None:
        """Waits for something to send; None at the end."""
        with self._changed:
            if failures and not self._closed:
                self._changed.wait(_BACKOFF.delay_seconds(failures, jitter=jitter()))
            if failures and self._closed:
                return None
            self._changed.wait_for(lambda: self._pending or self._closed)
            report = self._latest if self._pending else None
            self._pending = False
            return report

    def _again(self, report: ReplicaReport) -> None:
        with self._changed:
            if self._latest is report:
                self._pending = True
