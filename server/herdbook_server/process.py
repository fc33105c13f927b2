"""A server as a process of its own: event loop, logs and signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from herdbook_server import app, logs, supervision, workers
from herdbook_server.allocator import keep_freed_memory
from herdbook_server.rpc import calls
from herdbook_server.rpc.authentication import Tokens, TokensInvalid
from herdbook_server.settings import Settings
from herdbook_server.storage.chunks.local import THREADS

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_JOIN_SECONDS = 0.1

_COLLECTIONS = (10_000, 20, 100)
"""When Python looks for garbage in cycles: with its own thresholds it goes through all that
thousands of watches hold so often that a storm of them takes twice as long."""

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def serve(settings: Settings) -> None:
    """Run a server, or several workers, until SIGTERM or SIGINT. Raises StartFailed."""
    if settings.workers > 1:
        workers.run(settings)
        return
    _run(settings, _serve(settings))
    _leave_hanging_threads()


def migrate(settings: Settings) -> int:
    """Bring the database's schema to the newest; return how many steps that took.

    Raises StartFailed.
    """
    return _run(settings, app.migrate(settings))


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in _STOPPING:
        _on_signal(number, lambda: _stop(stopping))
    reload_asked = asyncio.Event()
    if hasattr(signal, "SIGHUP"):
        _on_signal(signal.SIGHUP, reload_asked.set)
    supervision.when_left_alone(
        lambda: _stop_alone(stopping),
        stop_seconds=settings.drain_seconds + supervision.STOP_SECONDS,
    )
    async with app.running(settings) as server:
        supervision.tell_ready()
        reloading = asyncio.create_task(_reload_when_asked(settings, server, reload_asked))
        await stopping.wait()
        reloading.cancel()


def _stop(stopping: asyncio.Event) -> None:
    """Begin to stop; the next signal of the kind ends the process at once, unless it is a worker.

    A worker may be sent the same by its supervisor and by who stops all of a service's processes.
    """
    if supervision.is_supervised():
        stopping.set()
    else:
        _stop_alone(stopping)


def _stop_alone(stopping: asyncio.Event) -> None:
    stopping.set()
    for number in _STOPPING:
        signal.signal(number, signal.SIG_DFL)


async def _reload_when_asked(
    settings: Settings, server: app.RunningServer, asked: asyncio.Event
) -> None:
    while True:
        await asked.wait()
        asked.clear()
        _reload_tokens(settings, server)


def _reload_tokens(settings: Settings, server: app.RunningServer) -> None:
    """Take the tokens file as it is now; if it cannot be used, stay with the tokens known."""
    if settings.tokens_file is None:
        return
    try:
        server.authentication.tokens = Tokens.read(settings.tokens_file)
        logger.info("tokens reloaded")
    except TokensInvalid as error:
        logger.error("tokens not reloaded: %s", error)  # noqa: TRY400 - a sentence says it all


def _leave_hanging_threads() -> None:
    """End the process if a thread of the chunk store hangs; Python would wait for it for ever."""
    hanging = [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    for thread in hanging:
        thread.join(_JOIN_SECONDS)
    if any(thread.is_alive() for thread in hanging):
        logging.shutdown()
        os._exit(0)


def _on_signal(number: signal.Signals, act: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:
        # Windows: handlers run between byte codes of the main thread.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))


def _allow_many_files() -> None:
    """Open as many files at once as the system lets, since each connection is one.

    Shells allow 1,024 for the sake of programs that use select(2); Go does the same.
    """
    if importlib.util.find_spec("resource") is None:
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run(settings: Settings, work: Coroutine[Any, Any, Result]) -> Result:
    keep_freed_memory()
    gc.set_threshold(*_COLLECTIONS)
    _allow_many_files()
    logs.configure(settings.log_format, settings.log_level, request_id=calls.request_id)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the faster event loop where it exists."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop
