"""Pushes and pulls over an S3 that fails now and then, and for a while altogether.

`python -m tests.faults.failing_s3 --mib 512 --percent 1 --outage-seconds 60` shows what became of
them, through the server and past it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path
from random import Random
from typing import TypeVar

from herdbook import Client, TransferProgress, Unavailable
from tests.faults.killed_push import MIB, MODEL, write_random
from tests.support.http_front import Request, forward, http_front
from tests.support.s3 import remove_bucket, running_s3
from tests.support.server import Engines, ServerProcess

ResultT = TypeVar("ResultT")

BUCKET = "failing"
AGAIN_SECONDS = 1.0
TRIES = 200


class Fault(Enum):
    """What becomes of a request instead of an answer."""

    ERROR = auto()
    SLOW_DOWN = auto()
    RESET = auto()
    CUT = auto()
    """The answer breaks off; what was asked for has happened."""


@dataclass(slots=True)
class FailingS3:
    """Stands in front of an S3 server, and fails as it is told."""

    endpoint_url: str
    random: Random = field(default_factory=lambda: Random(7))
    probability: float = 0.0
    away: bool = False
    asked: int = 0
    seen: Counter[Fault] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request, body: bytes) -> None:
        """Forward a request, or fail it."""
        fault = self._fault()
        if fault is None:
            forward(request, body, self.endpoint_url)
            return
        request.close_connection = True
        if fault is Fault.ERROR:
            request.send_error(500)
        elif fault is Fault.SLOW_DOWN:
            request.send_error(503)
        elif fault is Fault.CUT:
            forward(request, body, self.endpoint_url, cut=True)

    def _fault(self) -> Fault | None:
        with self._lock:
            self.asked += 1
            fails = self.away or self.random.random() < self.probability
            if not fails:
                return None
            fault = Fault.SLOW_DOWN if self.away else self.random.choice(list(Fault))
            self.seen[fault] += 1
            return fault


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a push and of a pull."""

    refusals: Sequence[str]
    """Reasons of errors that reached the user, who tried again."""
    seconds: float
    whole: bool
    faults: int = 0


def push_and_pull(
    server: ServerProcess, home: Path, *, size_bytes: int, half_way: Callable[[], object]
) -> Outcome:
    """Push, and pull, until each has succeeded; calls `half_way` in the middle of both."""
    started = time.monotonic()
    pushed, pulled = home / "pushed", home / "pulled"
    pushed.mkdir()
    write_random(pushed / "weights", size_bytes)
    refusals: list[str] = []
    with Client(server.address, cache=False) as client:
        version = until_done(
            lambda told: client.push(MODEL, pushed, capture=False, progress=told),
            half_way,
            refusals,
        )
        until_done(
            lambda told: client.pull(version.reference, pulled, progress=told), half_way, refusals
        )
        whole = client.verify_copy(version.reference, pulled).whole
        whole = whole and not client.verify(version.reference).lost
    return Outcome(refusals, time.monotonic() - started, whole)


def until_done(
    transfer: Callable[[Callable[[TransferProgress], None]], ResultT],
    half_way: Callable[[], object],
    refusals: list[str],
) -> ResultT:
    """Try again after errors that say that trying again may help; all others are raised."""
    told = False

    def tell(progress: TransferProgress) -> None:
        nonlocal told
        if not told and progress.done_bytes >= progress.total_bytes // 2:
            told = True
            half_way()

    for _ in range(TRIES):
        try:
            return transfer(tell)
        except Unavailable as error:
            refusals.append(error.reason)
            time.sleep(AGAIN_SECONDS)
    raise AssertionError("the transfer never ended")


@contextlib.contextmanager
def failing_server(home: Path, *, direct: bool) -> Iterator[tuple[ServerProcess, FailingS3]]:
    """Run a server over S3, and what stands between them; nothing fails yet."""
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(running_s3())
        endpoint.client().create_bucket(Bucket=BUCKET)
        stack.callback(remove_bucket, endpoint.client(), BUCKET)
        failing = FailingS3(endpoint.endpoint_url)
        env = replace(endpoint, endpoint_url=stack.enter_context(http_front(failing.answer)))
        settings = {"data": str(home / "data"), "artifacts": f"s3://{BUCKET}"}
        engines = Engines("sqlite+s3", settings, env.environment())
        server = ServerProcess(engines, home, direct=str(direct).lower())
        yield stack.enter_context(server), failing


def now_and_then(home: Path, *, size_bytes: int, probability: float, direct: bool) -> Outcome:
    """Have requests fail by chance; returns what became of it, and prints what failed."""
    with failing_server(home, direct=direct) as (server, failing):
        failing.probability = probability
        outcome = push_and_pull(server, home, size_bytes=size_bytes, half_way=lambda: None)
        failing.probability = 0.0
    return report(f"{probability:.0%} fail", outcome, failing)


def altogether(home: Path, *, size_bytes: int, seconds: float, direct: bool) -> Outcome:
    """Have all requests fail for a while, in the middle of the push and in that of the pull."""
    with failing_server(home, direct=direct) as (server, failing):

        def be_away() -> None:
            failing.away = True
            threading.Timer(seconds, lambda: setattr(failing, "away", False)).start()

        outcome = push_and_pull(server, home, size_bytes=size_bytes, half_way=be_away)
    return report(f"all fail for {seconds:.0f} s", outcome, failing)


def report(what: str, outcome: Outcome, failing: FailingS3) -> Outcome:
    """Print a line, and count the faults."""
    faults = ", ".join(f"{count} {fault.name}" for fault, count in failing.seen.items())
    refusals = ", ".join(f"{count} {each}" for each, count in Counter(outcome.refusals).items())
    sys.stdout.write(
        f"{what}: {failing.asked} requests, of which failed: {faults or 'none'}; "
        f"errors that reached the user: {refusals or 'none'}; "
        f"whole: {outcome.whole}; {outcome.seconds:.0f} s\n"
    )
    return replace(outcome, faults=failing.seen.total())


def main(arguments: Sequence[str] | None = None) -> None:
    """Let S3 fail, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--percent", type=float, default=1.0)
    parser.add_argument("--outage-seconds", type=float, default=60.0)
    given = parser.parse_args(arguments)
    size_bytes = given.mib * MIB
    for direct in (False, True):
        sys.stdout.write(f"{'past' if direct else 'through'} the server\n")
        with tempfile.TemporaryDirectory() as home:
            now_and_then(
                Path(home), size_bytes=size_bytes, probability=given.percent / 100, direct=direct
            )
        with tempfile.TemporaryDirectory() as home:
            altogether(
                Path(home), size_bytes=size_bytes, seconds=given.outage_seconds, direct=direct
            )


if __name__ == "__main__":
    main()
