"""gRPC methods that do nothing, to compare others with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

MESSAGE_BYTES = 2 * 1024 * 1024
SERVICE = "herdbook.bench.Baseline"
# Named like a read: the request log leaves out reads, and would cost the baseline what it costs.
EMPTY_METHOD = f"/{SERVICE}/GetNothing"
DISCARD_METHOD = f"/{SERVICE}/Discard"
SUPPLY_METHOD = f"/{SERVICE}/Supply"

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


def handlers() -> grpc.GenericRpcHandler:
    """Return the service; bytes stay bytes, without any protobuf around them."""
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
        },
    )
