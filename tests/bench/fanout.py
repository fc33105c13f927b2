"""How soon thousands of watches hear that an alias has moved, and what they cost."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from herdbook.v1.alias_pb2 import ReferenceState, SetAliasRequest, WatchAliasesResponse
from herdbook.v1.alias_pb2_grpc import AliasServiceStub
from herdbook.v1.version_pb2 import Resolution
from tests.bench.baselines import FAN_OUT_METHOD, TELL_METHOD
from tests.bench.go_files import PROGRAM
from tests.bench.load import own_channel
from tests.bench.machine import resident_memory_bytes
from tests.bench.measuring import Fact, Note, Row, Turns, go_round, percentile
from tests.bench.options import MIB, Options
from tests.bench.seeding import VERSIONS, seed
from tests.bench.servers import Server, bare_server, full_server, new_directory

TITLE = "an alias moves, many watches hear of it; against a bare gRPC fan-out of the same messages"
MODEL = "dairy/model-0"
ALIAS = "champion"
WATCH_METHOD = "/herdbook.v1.AliasService/WatchAliases"
WATCHES_PER_CONNECTION = 100
"""As proxies share connections out; replicas that come without one have a connection each."""
DEAF_WATCHES = 100
SPARE_FILES = 1000
DEAF_MOVES = 10_000

Move = Callable[[int], None]
"""Make a version what all watches are to hear of."""


@dataclass(frozen=True, slots=True)
class Told:
    """From the wish to move the alias until watches were told, in milliseconds."""

    median: float
    p99: float
    last: float


class Crowd:
    """A Go process that holds many watches, which all began at once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        opened = self._said()
        self.seconds = float(opened["seconds"])
        """Until all were open."""
        self.retries = int(opened["retries"])

    def move(self, move: Move, version: int) -> Told:
        """Move, and wait until all watches were told."""
        began_us = time.time_ns() / 1000
        move(version)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{version}\n")
        self._process.stdin.flush()
        times = [(told_us - began_us) / 1000 for told_us in self._said()["told_unix_us"]]
        return Told(percentile(times, 50), percentile(times, 99), max(times))

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said


async def run(options: Options) -> list[Row]:
    """Measure watches that share connections, those that have one each, and deaf ones."""
    if not PROGRAM.exists():
        return [Note("There is no Go program yet: `make interop` builds it.")]
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < options.watches + SPARE_FILES:
        return [
            Note(f"Too few open files are allowed: `ulimit -n {options.watches + SPARE_FILES}`.")
        ]
    rows: list[Row] = []
    for connections in (max(1, options.watches // WATCHES_PER_CONNECTION), options.watches):
        with bare_server(options.home) as bare:
            async with seeded_server(options) as server:
                rows += measure(options, server, bare, connections)
    async with seeded_server(options) as server:
        rows.append(move_past_deaf(server))
    return rows


@contextlib.asynccontextmanager
async def seeded_server(options: Options) -> AsyncIterator[Server]:
    """Run a server with the model whose alias moves until the block ends."""
    env = {"HERDBOOK_MAX_WATCHES": str(options.watches + DEAF_WATCHES)}
    with full_server(new_directory(options.home, "fanout"), env=env) as server:
        async with own_channel(server.address) as channel:
            await seed(channel, models=1)
        yield server


def measure(options: Options, server: Server, bare: Server, connections: int) -> Iterator[Row]:
    """Open the watches of both servers and move in turns; then once more beside deaf watches."""
    count = options.watches
    name = f"{count:,} watches, {connections:,} connections"
    with contextlib.ExitStack() as stack:

        def hold(server: Server, method: str) -> tuple[Crowd, float]:
            before = resident_memory_bytes(server.pid)
            held = stack.enter_context(crowd(server, method, count, connections))
            return held, (resident_memory_bytes(server.pid) - before) / count / 1024

        ours, ours_kib = hold(server, WATCH_METHOD)
        bares, bares_kib = hold(bare, FAN_OUT_METHOD)
        move = stack.enter_context(alias_moves(server))
        tell = stack.enter_context(bare_tells(bare))
        yield Turns((ours.seconds,), (bares.seconds,)).compare(
            f"{name}: all open", baseline="bare", unit="s", better="lower"
        )
        yield Fact(f"{name}: refused or broken, and tried again", ours.retries, "")
        yield Turns((ours_kib,), (bares_kib,)).compare(
            f"{name}: memory of each in the server", baseline="bare", unit="KiB", better="lower"
        )
        versions = itertools.cycle([1, *range(3, VERSIONS + 1), 2])
        measures = [
            lambda: ours.move(move, next(versions)),
            lambda: bares.move(tell, next(versions)),
        ]
        yield from figures(name, Turns(*go_round(measures, rounds=options.rounds)))
        stack.enter_context(crowd(server, WATCH_METHOD, DEAF_WATCHES, DEAF_WATCHES, kind="deaf"))
        name = f"{name}, {DEAF_WATCHES} of them deaf"
        yield from figures(name, Turns(*go_round(measures, rounds=options.rounds)))


def figures(name: str, turns: Turns[Told]) -> Iterator[Row]:
    """Compare when watches were told."""
    whats: Sequence[tuple[str, Callable[[Told], float]]] = (
        ("half of them told", lambda told: told.median),
        ("99 % told", lambda told: told.p99),
        ("all told", lambda told: told.last),
    )
    for what, figure in whats:
        yield turns.compare(
            f"{name}: {what}", baseline="bare", unit="ms", better="lower", figure=figure
        )


def move_past_deaf(server: Server) -> Row:
    """Move an alias very often that nobody who watches it reads of."""
    with (
        crowd(server, WATCH_METHOD, DEAF_WATCHES, DEAF_WATCHES, kind="deaf"),
        alias_moves(server) as move,
    ):
        before = resident_memory_bytes(server.pid)
        for number in range(DEAF_MOVES):
            move(number % VERSIONS + 1)
        grown = resident_memory_bytes(server.pid) - before
    name = f"{DEAF_WATCHES} deaf watches, {DEAF_MOVES:,} moves: memory of the server"
    return Fact(name, grown / MIB, "MiB more")


@contextlib.contextmanager
def crowd(
    server: Server, method: str, count: int, connections: int, *, kind: str = "watches"
) -> Iterator[Crowd]:
    """Hold watches until the block ends."""
    command = [PROGRAM, kind, method, f"{MODEL}@{ALIAS}", str(count), str(connections)]
    env = {**os.environ, "HERDBOOK_SERVER": server.address}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, text=True, stdin=pipe, stdout=pipe) as process:
        try:
            yield Crowd(process)
        finally:
            process.kill()


@contextlib.contextmanager
def alias_moves(server: Server) -> Iterator[Move]:
    """Move the alias by way of the contract."""
    with grpc.insecure_channel(server.address) as channel:
        stub = AliasServiceStub(channel)

        def move(version: int) -> None:
            request_id = str(uuid.uuid4())
            stub.SetAlias(
                SetAliasRequest(model=MODEL, alias=ALIAS, version=version, request_id=request_id)
            )

        yield move


@contextlib.contextmanager
def bare_tells(server: Server) -> Iterator[Move]:
    """Send the same message by way of the bare server."""
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(TELL_METHOD)

        def tell(version: int) -> None:
            named = Resolution(
                model=MODEL, version=version, digest=f"sha256:{'0' * 64}", size_bytes=1024
            )
            state = ReferenceState(reference=f"{MODEL}@{ALIAS}", resolution=named, revision=version)
            call(WatchAliasesResponse(state=state).SerializeToString())

        yield tell
