"""A server takes what comes all at once, as when the one before it has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from herdbook.v1 import alias_pb2, alias_pb2_grpc
from tests.support.server import Engines, ServerProcess

WATCHES = 3000
CONNECTIONS = 10
SUBSCRIPTION = alias_pb2.WatchAliasesRequest(references=["m@a"])


@pytest.fixture
def address(embedded_engines: Engines, tmp_path: Path) -> Iterator[str]:
    """Where a server serves."""
    with ServerProcess(embedded_engines, tmp_path) as server:
        yield server.address


async def test_thousands_of_watches_that_come_at_once_are_all_taken(address: str) -> None:
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(CONNECTIONS)
    ]
    stubs = [alias_pb2_grpc.AliasServiceStub(channel) for channel in channels]
    watches = [
        stubs[number % CONNECTIONS].WatchAliases(SUBSCRIPTION, wait_for_ready=True)
        for number in range(WATCHES)
    ]
    first = await asyncio.gather(*(watch.read() for watch in watches))
    assert {update.state.reference for update in first} == {"m@a"}
    for watch in watches:
        watch.cancel()
    for channel in channels:
        await channel.close()
