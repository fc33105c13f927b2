"""How many references a server resolves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc

from herdbook.v1.version_pb2 import ResolveReferenceRequest
from herdbook.v1.version_pb2_grpc import VersionServiceStub
from tests.bench.databases import empty_database
from tests.bench.load import Call, calls_per_second, empty_call, own_channel
from tests.bench.measuring import Row, Turns, take_async_turns
from tests.bench.options import Options
from tests.bench.seeding import seed
from tests.bench.servers import Server, full_server, new_directory

TITLE = "references resolved (by alias, number, label and newest), against an empty method"
IN_FLIGHT = (1, 8, 32)
AIM = 0.6


async def run(options: Options) -> list[Row]:
    """Measure every engine and every number of calls in flight."""
    rows: list[Row] = []
    for engine in options.engines:
        home = new_directory(options.home, engine)
        with empty_database(engine) as database, full_server(home, database=database) as server:
            async with own_channel(server.address) as channel:
                expected = await seed(channel)
                await check(channel, expected)
                callers = Callers(server, resolve_call(channel, expected), empty_call(channel))
                for in_flight in IN_FLIGHT:
                    turns = await callers.take_turns(in_flight, options)
                    rows += figures(turns, f"{engine}, {in_flight} in flight")
    return rows


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of calls."""

    calls_per_second: float
    processor_us: float
    """What the server's process spent on each, its database's aside unless it is within."""


@dataclass(frozen=True, slots=True)
class Callers:
    """Those who call one server."""

    server: Server
    resolve: Call
    empty: Call

    async def take_turns(self, in_flight: int, options: Options) -> Turns[Turn]:
        """Measure with so many calls in flight."""
        return await take_async_turns(
            baseline=lambda: self.measure([self.empty] * in_flight, options.seconds),
            subject=lambda: self.measure([self.resolve] * in_flight, options.seconds),
            rounds=options.rounds,
        )

    async def measure(self, calls: Sequence[Call], seconds: float) -> Turn:
        """Call for some time."""
        spent, began = self.server.processor_seconds, time.perf_counter()
        rate = await calls_per_second(calls, seconds=seconds)
        spent, took = self.server.processor_seconds - spent, time.perf_counter() - began
        return Turn(rate, 1e6 * spent / (rate * took))


def figures(turns: Turns[Turn], name: str) -> list[Row]:
    """Name what was measured."""
    rate = turns.compare(
        name,
        baseline="empty method",
        unit="calls/s",
        better="higher",
        figure=lambda turn: turn.calls_per_second,
        aim=AIM,
    )
    cost = turns.compare(
        f"{name}: server's processor time",
        baseline="empty method",
        unit="µs",
        better="lower",
        figure=lambda turn: turn.processor_us,
    )
    return [rate, cost]


def resolve_call(channel: grpc.aio.Channel, references: Mapping[str, int]) -> Call:
    """Return a call that resolves one reference after the other."""
    method = VersionServiceStub(channel).ResolveReference
    requests: Iterator[ResolveReferenceRequest] = itertools.cycle(
        [ResolveReferenceRequest(reference=reference) for reference in references]
    )
    return lambda: method(next(requests))


async def check(channel: grpc.aio.Channel, expected: Mapping[str, int]) -> None:
    """See to it that every reference resolves to what it names."""
    stub = VersionServiceStub(channel)
    for reference, version in expected.items():
        answer = await stub.ResolveReference(ResolveReferenceRequest(reference=reference))
        assert answer.resolution.version == version, reference
