"""Calls, as many as can be answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import grpc
from google.protobuf.empty_pb2 import Empty

from tests.bench.baselines import EMPTY_METHOD

Call = Callable[[], Awaitable[object]]


async def calls_per_second(callers: Sequence[Call], *, seconds: float) -> float:
    """Let every caller call again as soon as it is answered, and return their rate together."""
    began = time.perf_counter()
    counts = await asyncio.gather(*(call_until(call, began + seconds) for call in callers))
    return sum(counts) / (time.perf_counter() - began)


async def call_until(call: Call, end: float) -> int:
    """Call again and again until the clock passes `end`; return how often."""
    count = 0
    while time.perf_counter() < end:
        await call()
        count += 1
    return count


def own_channel(address: str) -> grpc.aio.Channel:
    """Open a connection that is shared with no other channel of this process."""
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def empty_call(channel: grpc.aio.Channel) -> Call:
    """Return a call of the method that does nothing."""
    method = channel.unary_unary(
        EMPTY_METHOD,
        request_serializer=Empty.SerializeToString,
        response_deserializer=Empty.FromString,
    )
    request = Empty()
    return lambda: method(request)
