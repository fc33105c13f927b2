"""How many references a server resolves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import grpc

from herdbook.v1.version_pb2 import ResolveReferenceRequest
from herdbook.v1.version_pb2_grpc import VersionServiceStub
from tests.bench.databases import empty_database
from tests.bench.load import Call, calls_per_second, empty_call, own_channel
from tests.bench.measuring import Row, Turns, take_async_turns
from tests.bench.options import Options
from tests.bench.seeding import seed
from tests.bench.servers import full_server, new_directory

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
                for in_flight in IN_FLIGHT:
                    turns = await measure(channel, expected, in_flight, options)
                    rows.append(compare(turns, f"{engine}, {in_flight} in flight"))
    return rows


async def measure(
    channel: grpc.aio.Channel, references: Mapping[str, int], in_flight: int, options: Options
) -> Turns:
    """Measure one number of calls in flight."""
    resolve, empty = resolve_call(channel, references), empty_call(channel)
    return await take_async_turns(
        baseline=lambda: calls_per_second([empty] * in_flight, seconds=options.seconds),
        subject=lambda: calls_per_second([resolve] * in_flight, seconds=options.seconds),
        rounds=options.rounds,
    )


def compare(turns: Turns, name: str) -> Row:
    """Name what was measured."""
    return turns.compare(name, baseline="empty method", unit="calls/s", better="higher", aim=AIM)


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
