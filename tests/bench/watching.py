"""How soon a watching process hears that an alias has moved."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.empty_pb2 import Empty

from herdbook.v1.alias_pb2 import SetAliasRequest
from herdbook.v1.alias_pb2_grpc import AliasServiceStub
from tests.bench.baselines import EMPTY_METHOD
from tests.bench.databases import empty_database
from tests.bench.load import own_channel
from tests.bench.measuring import Fact, Row, Turns, percentile
from tests.bench.options import Options
from tests.bench.seeding import VERSIONS, seed
from tests.bench.servers import Server, full_server, new_directory

TITLE = "an alias moves, another process hears of it; against an empty unary call"
MODEL = "dairy/model-0"
ALIAS = "champion"
HEARD_WITHIN_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 0.05
WARM_UP_MOVES = 5


@dataclass(frozen=True, slots=True)
class Move:
    """When one move was asked for, answered and told; durations in seconds."""

    empty_call: float
    """A call that does nothing, just before."""
    asked_to_told: float
    answered_to_told: float
    """From when its writer knew that it was committed; negative if the watcher knew first."""


async def run(options: Options) -> list[Row]:
    """Measure one server on SQLite, and two on PostgreSQL: one to write to, one to watch."""
    rows: list[Row] = []
    for engine in options.engines:
        with empty_database(engine) as database, contextlib.ExitStack() as stack:
            homes = [
                new_directory(options.home, engine) for _ in range(1 if engine == "sqlite" else 2)
            ]
            servers = [stack.enter_context(full_server(home, database=database)) for home in homes]
            async with own_channel(servers[0].address) as channel:
                await seed(channel, models=1)
            moves = move_and_watch(servers[0], servers[-1], options.moves)
            name = f"{engine}, {'1 server' if len(servers) == 1 else f'{len(servers)} servers'}"
            rows += figures(name, moves)
    return rows


def figures(name: str, moves: Sequence[Move]) -> Iterator[Row]:
    """Compare what was measured, in milliseconds."""
    baseline = tuple(1000 * move.empty_call for move in moves)
    for what, seconds in (
        ("move committed → told", [move.answered_to_told for move in moves]),
        ("move asked for → told", [move.asked_to_told for move in moves]),
    ):
        subject = tuple(1000 * each for each in seconds)
        yield Turns(subject, baseline).compare(
            f"{name}: {what}", baseline="empty call", unit="ms", better="lower"
        )
        yield Fact(f"{name}: {what}, p99", percentile(subject, 99), "ms")
    yield Fact(f"{name}: empty call, p99", percentile(baseline, 99), "ms")


def move_and_watch(writes: Server, watched: Server, count: int) -> list[Move]:
    """Move an alias by way of one server while another process watches it by way of the other."""
    with watching(watched) as watcher, grpc.insecure_channel(writes.address) as channel:
        version, _ = next_state(watcher)
        moves: list[Move] = []
        for _ in range(WARM_UP_MOVES + count):
            # A steady beat could fall in with the beat of a poll.
            time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))
            version = random.choice([n for n in range(1, VERSIONS + 1) if n != version])
            moves.append(move(channel, watcher, version))
        return moves[WARM_UP_MOVES:]


def move(channel: grpc.Channel, watcher: subprocess.Popen[str], version: int) -> Move:
    """Move the alias once, and wait until the watcher was told."""
    request = SetAliasRequest(
        model=MODEL, alias=ALIAS, version=version, request_id=str(uuid.uuid4())
    )
    began = time.monotonic_ns()
    channel.unary_unary(EMPTY_METHOD, Empty.SerializeToString, Empty.FromString)(Empty())
    asked = time.monotonic_ns()
    AliasServiceStub(channel).SetAlias(request)
    answered = time.monotonic_ns()
    heard, told = next_state(watcher)
    assert heard == version
    return Move((asked - began) / 1e9, (told - asked) / 1e9, (told - answered) / 1e9)


@contextlib.contextmanager
def watching(server: Server) -> Iterator[subprocess.Popen[str]]:
    """Run a process that watches the alias until the block ends."""
    command = [sys.executable, "-m", "tests.bench.watcher", server.address, f"{MODEL}@{ALIAS}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def next_state(watcher: subprocess.Popen[str]) -> tuple[int, int]:
    """Return the version that the watcher was told, and when.

    Raises:
        TimeoutError: it is told nothing.
    """
    assert watcher.stdout is not None
    alarm = threading.Timer(HEARD_WITHIN_SECONDS, watcher.kill)
    alarm.start()
    line = watcher.stdout.readline()
    alarm.cancel()
    if not line:
        raise TimeoutError("the watcher was told nothing")
    version, told_ns = map(int, line.split())
    return version, told_ns
