"""Drives a watch over connections that come and go, in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from grpc import aio

from herdbook.core.values import Bookmark, ReferenceState
from herdbook.core.watching import METHOD, SILENCE_SECONDS, Watch, WatchUpdate
from herdbook.errors import ClientClosed, ConnectionLost, HerdbookError
from herdbook.transport.aio_caller import AioCaller
from herdbook.transport.jitter import jitter


async def follow(
    caller: AioCaller, watch: Watch, *, silence_seconds: float = SILENCE_SECONDS
) -> AsyncGenerator[WatchUpdate]:
    """Yields what a watch tells, for ever; ends when the caller is closed.

    Args:
        caller: Makes the connections.
        watch: What to watch, and what is known of it.
        silence_seconds: A connection without a word for this long is given up.

    Raises:
        HerdbookError: The server refused the first connection for good.
    """
    while not caller.closed:
        try:
            async with aclosing(_connection(caller, watch, silence_seconds)) as updates:
                async for update in updates:
                    yield update
            error: HerdbookError = ConnectionLost("The server ended the watch.")
        except ClientClosed:
            return
        except HerdbookError as failure:
            error = failure if watch.admitted else await caller.explained(failure)
        pause = watch.broke(error, jitter=jitter())
        yield pause
        await caller.wait(pause.retry_in_seconds)


async def _connection(
    caller: AioCaller, watch: Watch, silence_seconds: float
) -> AsyncGenerator[ReferenceState | Bookmark]:
    with caller.translated():
        call = caller.download(METHOD, watch.request().SerializeToString())
        with _guarded(call, silence_seconds) as heard:
            async for data in call:
                heard()
                caller.contact.answered = True
                update = watch.read(data)
                if update is not None:
                    yield update


@contextmanager
def _guarded(
    call: aio.UnaryStreamCall[bytes, bytes], silence_seconds: float
) -> Iterator[Callable[[], None]]:
    """Cancels the call in the end, and earlier if nothing is heard for too long."""
    loop = asyncio.get_running_loop()
    guard = loop.call_later(silence_seconds, call.cancel)

    def heard() -> None:
        nonlocal guard
        guard.cancel()
        guard = loop.call_later(silence_seconds, call.cancel)

    try:
        yield heard
    finally:
        guard.cancel()
        call.cancel()
