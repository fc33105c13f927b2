"""What surrounds every call, unary and streaming alike."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any, Protocol, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from herdbook_server.errors import FieldInvalid, FieldViolation, HerdbookError
from herdbook_server.rpc import calls
from herdbook_server.rpc.calls import Call, Context
from herdbook_server.rpc.large_requests import LARGE_BYTES, REQUEST_MAX_BYTES, LargeRequests

Behaviour: TypeAlias = Callable[[Any, Context], Any]
Decode: TypeAlias = Callable[[bytes], Any]

_LONG = frozenset(
    {"/herdbook.v1.VersionService/RegisterVersion", "/herdbook.v1.AliasService/WatchAliases"}
)
"""Methods whose requests may be as large as a message."""

DRAINED_MESSAGES = 64
"""How many messages of a refused upload are still read, and dropped."""

DRAIN_SECONDS = 5.0
"""How long that may take."""

_MAKERS: dict[str, Callable[..., Any]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class Layer(Protocol):
    """Something that surrounds calls."""

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Do what comes before and after the call; see, and change, how it ends."""
        ...


class Surroundings(grpc.aio.ServerInterceptor):
    """Puts layers around every call, the first one outermost.

    A response stream runs to its end in its call's own task: what a servicer cleans up is cleaned
    up when the call is over, cancelled calls included.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._large_requests = LargeRequests()
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of a call; a method that does not exist is left to gRPC."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Any, method: str) -> Any:
        kind = next(kind for kind in _MAKERS if getattr(handler, kind))
        return _MAKERS[kind](
            self._surround(method, self._in_one_task(kind, handler, method)),
            response_serializer=_unless_done(handler.response_serializer),
        )

    def _surround(self, method: str, behaviour: Behaviour) -> Behaviour:
        for layer in reversed(self._layers):
            behaviour = _within(layer, behaviour)

        async def surrounded(request: Any, context: Context) -> Any:
            call = calls.begin(method, context)
            context.set_trailing_metadata(((calls.REQUEST_ID_KEY, call.request_id),))
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError as error:
                # gRPC keeps the error in a cycle with the call, and with it all that frames hold.
                del request
                error.__context__ = None
                raise error.with_traceback(None) from None

        return surrounded

    def _in_one_task(self, kind: str, handler: Any, method: str) -> Behaviour:
        """Make of any handler a coroutine function that takes care of its request and responses."""
        is_bounded = not handler.request_streaming and method not in _LONG
        decode = _decoding(
            handler.request_deserializer, REQUEST_MAX_BYTES if is_bounded else math.inf
        )
        respond = _responding(getattr(handler, kind), handler.response_serializer)

        async def behave_once(data: bytes, context: Context) -> Any:
            async with self._large_requests.admitted(len(data)):
                return await respond(decode(data), context)

        async def behave_often(data: bytes, context: Context) -> None:
            if len(data) < LARGE_BYTES:
                await respond(decode(data), context)
                return
            # What a stream leaves of its request when it has begun to answer is its raw bytes,
            # which gRPC holds as long as the call.
            async with AsyncExitStack() as room:
                await room.enter_async_context(self._large_requests.admitted(len(data)))
                calls.current().until_answered = room
                await respond(decode(data), context)

        async def behave_on_stream(messages: AsyncIterator[bytes], context: Context) -> Any:
            try:
                return await respond(_decoded(messages, decode), context)
            except HerdbookError:
                await _drain(messages)
                raise

        return {"unary_unary": behave_once, "unary_stream": behave_often}.get(
            kind, behave_on_stream
        )


def _within(layer: Layer, behaviour: Behaviour) -> Behaviour:
    async def within(request: Any, context: Context) -> Any:
        async with layer.around(calls.current()):
            return await behaviour(request, context)

    return within


def _responding(behaviour: Behaviour, serialize: Callable[[Any], bytes]) -> Behaviour:
    """Serialize responses inside of the layers, which see what that costs, and if it fails."""

    async def respond_once(request: Any, context: Context) -> Any:
        answering = behaviour(request, context)
        # It may be large, and a watch lasts for days.
        del request
        response = await answering
        if response is None:
            return None
        data = serialize(response)
        calls.current().sent_bytes += len(data)
        return data

    async def respond_often(request: Any, context: Context) -> None:
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await calls.current().write(serialize(response))

    return respond_often if inspect.isasyncgenfunction(behaviour) else respond_once


def _decoding(deserialize: Decode, max_bytes: float) -> Decode:
    """Decode inside of the layers: they count the bytes, and refuse what gRPC calls INTERNAL."""

    def decode(data: bytes) -> Any:
        calls.current().received_bytes += len(data)
        if len(data) > max_bytes:
            message = f"The request has {len(data)} bytes; {max_bytes} is the most."
            raise FieldInvalid(message, fields=[FieldViolation("request", message)])
        try:
            return deserialize(data)
        except (DecodeError, ValueError) as error:
            raise FieldInvalid("The request is no valid message of this method.") from error

    return decode


async def _decoded(messages: AsyncIterator[bytes], decode: Decode) -> AsyncIterator[Any]:
    async for message in messages:
        yield decode(message)


async def _drain(requests: AsyncIterator[Any]) -> None:
    """Read on for a while.

    A caller in the middle of a write would take the end of the call for a broken connection and
    never see the status.
    """

    async def read() -> None:
        remaining = DRAINED_MESSAGES
        async for _ in requests:
            remaining -= 1
            if not remaining:
                return

    reading = asyncio.ensure_future(read())
    try:
        await asyncio.wait({reading}, timeout=DRAIN_SECONDS)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _unless_done(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Take what is serialized already; servicers of others write messages by themselves."""
    return lambda response: response if isinstance(response, bytes) else serialize(response)
