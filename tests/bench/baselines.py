"""gRPC methods that do nothing, to compare others with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

from herdbook.v1.alias_pb2 import Bookmark, WatchAliasesResponse

MESSAGE_BYTES = 2 * 1024 * 1024
SERVICE = "herdbook.bench.Baseline"
# Named like a read: the request log leaves out reads, and would cost the baseline what it costs.
EMPTY_METHOD = f"/{SERVICE}/GetNothing"
DISCARD_METHOD = f"/{SERVICE}/Discard"
SUPPLY_METHOD = f"/{SERVICE}/Supply"
FAN_OUT_METHOD = f"/{SERVICE}/FanOut"
TELL_METHOD = f"/{SERVICE}/Tell"

Context = grpc.aio.ServicerContext[Any, Any]


async def answer(request: Empty, context: Context) -> Empty:
    """Answer nothing to nothing."""
    return Empty()


async def discard(pieces: AsyncIterator[bytes], context: Context) -> bytes:
    """Take a stream of bytes, drop them, and answer how many there were."""
    size_bytes = 0
    async for piece in pieces:
        size_bytes += len(piece)
    return str(size_bytes).encode()


async def supply(request: bytes, context: Context) -> AsyncIterator[bytes]:
    """Give as many bytes as are asked for, the same message again and again."""
    message = bytes(MESSAGE_BYTES)
    remaining = int(request)
    while remaining > 0:
        yield message[:remaining]
        remaining -= MESSAGE_BYTES


class FanOut:
    """Sends what one caller tells to all who listen; belongs to one event loop."""

    def __init__(self) -> None:
        self._next: asyncio.Future[bytes] | None = None

    async def listen(self, request: bytes, context: Context) -> None:
        """Send a first bookmark, then whatever is told."""
        await context.write(WatchAliasesResponse(bookmark=Bookmark()).SerializeToString())
        while True:
            self._next = self._next or asyncio.get_running_loop().create_future()
            await context.write(await asyncio.shield(self._next))

    async def tell(self, request: bytes, context: Context) -> bytes:
        """Send the request to all who listen."""
        told, self._next = self._next, None
        if told is not None:
            told.set_result(request)
        return b""


def handlers() -> grpc.GenericRpcHandler:
    """Return the service; bytes stay bytes, without any protobuf around them."""
    fan_out = FanOut()
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "GetNothing": grpc.unary_unary_rpc_method_handler(
                answer,
                request_deserializer=Empty.FromString,
                response_serializer=Empty.SerializeToString,
            ),
            "Discard": grpc.stream_unary_rpc_method_handler(discard),
            "Supply": grpc.unary_stream_rpc_method_handler(supply),
            "FanOut": grpc.unary_stream_rpc_method_handler(fan_out.listen),
            "Tell": grpc.unary_unary_rpc_method_handler(fan_out.tell),
        },
    )
