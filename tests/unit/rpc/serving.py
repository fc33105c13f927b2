"""A gRPC server around one servicer, for tests of what surrounds calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from herdbook.v1 import artifact_pb2_grpc
from herdbook_server.rpc.interceptors import Layer, Surroundings
from herdbook_server.rpc.refusals import Refusals
from tests.support.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Served:
    """How to reach a server."""

    address: str
    channel: grpc.aio.Channel


@asynccontextmanager
async def serving(
    servicer: artifact_pb2_grpc.ArtifactServiceServicer, *, layers: Sequence[Layer] = ()
) -> AsyncIterator[Served]:
    """Serve until the block ends, with refusals translated."""
    server = grpc.aio.server(interceptors=[Surroundings([*layers, Refusals()])])
    artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
            yield Served(f"{LOOPBACK}:{port}", channel)
    finally:
        await server.stop(None)
