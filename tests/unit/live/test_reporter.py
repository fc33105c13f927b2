from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from herdbook.core.retrying import Backoff
from herdbook.core.values import Replica, ReplicaReport, ReplicaState
from herdbook.errors import FieldInvalid, HerdbookError, Unavailable
from herdbook.live.reporter import Reporter
from tests.support.waiting import wait_until


def report(version: int) -> ReplicaReport:
    return ReplicaReport(Replica("r"), "m@champion", ReplicaState.SERVING, version)


class Line:
    """Takes reports as slowly as a test likes, and loses some."""

    def __init__(self) -> None:
        self.taken: list[int | None] = []
        self.sending: queue.Queue[int | None] = queue.Queue()
        self.open = threading.Event()
        self.open.set()
        self.losses: list[HerdbookError] = []

    def send(self, sent: ReplicaReport) -> None:
        self.sending.put(sent.version)
        assert self.open.wait(30)
        if self.losses:
            raise self.losses.pop(0)
        self.taken.append(sent.version)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr("herdbook.live.reporter._BACKOFF", Backoff(0.001, 0.002))
    return Line()


@pytest.fixture
def reporter(line: Line) -> Iterator[Reporter]:
    made = Reporter(line.send)
    made.start()
    yield made
    line.open.set()
    made.close(flush_seconds=30)


def test_reports_that_are_overtaken_are_not_sent(line: Line, reporter: Reporter) -> None:
    line.open.clear()
    reporter.say(report(1))
    assert line.sending.get(timeout=30) == 1
    for version in (2, 3, 4):
        reporter.say(report(version))
    line.open.set()
    wait_until(lambda: line.taken == [1, 4], "the last report is taken")


def test_a_lost_report_is_sent_again(line: Line, reporter: Reporter) -> None:
    line.losses = [Unavailable()] * 3
    reporter.say(report(1))
    wait_until(lambda: line.taken == [1], "the report is taken")


def test_a_report_that_is_refused_is_told_once(
    line: Line, reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = FieldInvalid("The digest is none.")
    line.losses = [Unavailable(), refusal, Unavailable(), refusal]
    reporter.say(report(1))
    wait_until(lambda: line.taken == [1], "the report is taken")
    assert caplog.messages == ["The registry did not take a report: The digest is none."]


def test_a_lost_report_gives_way_to_a_newer_one(line: Line, reporter: Reporter) -> None:
    line.losses = [Unavailable()] * 1
    line.open.clear()
    reporter.say(report(1))
    assert line.sending.get(timeout=30) == 1
    reporter.say(report(2))
    line.open.set()
    wait_until(lambda: line.taken == [2], "the newer report is taken")


def test_the_last_report_is_repeated_on_demand(line: Line, reporter: Reporter) -> None:
    reporter.repeat()
    reporter.say(report(1))
    wait_until(lambda: line.taken == [1], "the report is taken")
    reporter.repeat()
    wait_until(lambda: line.taken == [1, 1], "it is taken again")


def test_the_last_report_is_sent_before_the_end(line: Line, reporter: Reporter) -> None:
    reporter.say(report(1))
    reporter.close(flush_seconds=30)
    assert line.taken == [1]
