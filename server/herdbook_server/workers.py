"""Several server processes at one address, for machines with many cores."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from herdbook_server import app, logs
from herdbook_server.app import StartFailed
from herdbook_server.rpc import calls
from herdbook_server.rpc.server import AddressUnusable, bound, try_to_bind
from herdbook_server.settings import Settings

logger = logging.getLogger(__name__)

LIFELINE: Final = "HERDBOOK_LIFELINE"
"""Names the descriptor at which a worker reads an end when whoever started it is gone."""

_COMMAND: Final = (sys.executable, "-P", "-m", "herdbook_server", "serve")
"""Modules that lie in the working directory are none of ours."""

_LOOK_SECONDS: Final = 0.1
_RESTART_SECONDS: Final = 1.0


def run(settings: Settings) -> None:
    """Run workers until SIGTERM or SIGINT; one that ends unasked is started again.

    Raises:
        StartFailed: The address cannot be listened at, or a first worker did not start.
    """
    logs.configure(settings.log_format, settings.log_level, request_id=calls.request_id)
    with ExitStack() as stack:
        address = stack.enter_context(_held_address(settings.listen))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="herdbook-")))
        lifeline = stack.enter_context(_lifeline())
        workers = [
            Worker(_variables(settings, address, number), lifeline, home / f"{number}.ready")
            for number in range(settings.workers)
        ]
        asyncio.run(_run(workers, lambda: _announce(settings, address)))


class Worker:
    """One server process, again and again."""

    def __init__(self, variables: dict[str, str], lifeline: int, ready_file: Path) -> None:
        self._lifeline = lifeline
        self._ready_file = ready_file
        self._environment = {
            **os.environ,
            **variables,
            "HERDBOOK_READY_FILE": str(ready_file),
            LIFELINE: str(lifeline),
        }
        self.answered = asyncio.Event()
        """Set when the first of its lives has begun to answer."""
        self._stopped = asyncio.Event()
        self._reload_due = False
        self._process: Process | None = None

    async def run(self) -> None:
        """Start it, and again a moment after it ended, until it is stopped.

        Raises:
            StartFailed: It ended before it had ever answered.
        """
        while not self._stopped.is_set():
            code = await self._live()
            if self._stopped.is_set():
                return
            if not self.answered.is_set():
                raise StartFailed(f"A worker ended with code {code} before it answered.")
            logger.warning("a worker ended with %s and is started again", code)
            with suppress(TimeoutError):
                async with asyncio.timeout(_RESTART_SECONDS):
                    await self._stopped.wait()

    def stop(self) -> None:
        """Have it drain and end; the second time, at once."""
        self._stopped.set()
        self._send(signal.SIGTERM)

    def reload(self) -> None:
        """Have it read its tokens again, once it can be asked to."""
        self._reload_due = True
        if self._ready_file.exists():
            self._send_reload()

    async def _live(self) -> int:
        self._ready_file.unlink(missing_ok=True)
        process = self._process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            env=self._environment,
            pass_fds=[self._lifeline],
            # What a terminal sends comes to this process alone, which hands it on.
            start_new_session=True,
        )
        answering = asyncio.create_task(self._await_answer())
        if self._stopped.is_set():
            self._send(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            answering.cancel()
            self._send(signal.SIGTERM)
            await process.wait()

    async def _await_answer(self) -> None:
        while not self._ready_file.exists():  # noqa: ASYNC110 - a file wakes nobody
            await asyncio.sleep(_LOOK_SECONDS)
        self.answered.set()
        if self._reload_due:
            self._send_reload()

    def _send_reload(self) -> None:
        self._reload_due = False
        self._send(signal.SIGHUP)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _run(workers: Sequence[Worker], announce: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _each, workers, Worker.stop)
    loop.add_signal_handler(signal.SIGHUP, _each, workers, Worker.reload)
    try:
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(worker.run()) for worker in workers]
            announcing = group.create_task(_when_all_answer(workers, announce))
            await asyncio.wait(runs)
            announcing.cancel()
    except ExceptionGroup as failures:
        # The others were ended for it.
        raise failures.exceptions[0] from None


def _each(workers: Sequence[Worker], act: Callable[[Worker], None]) -> None:
    for worker in workers:
        act(worker)


async def _when_all_answer(workers: Sequence[Worker], announce: Callable[[], None]) -> None:
    for worker in workers:
        await worker.answered.wait()
    announce()


def _announce(settings: Settings, address: str) -> None:
    fields = {"address": address, "workers": settings.workers}
    logger.info("all workers are listening", extra={"fields": fields})
    app.write_ready_file(settings, address)


@contextmanager
def _held_address(listen: str) -> Iterator[str]:
    """Keep an address from others, and give it with the port that was taken for port 0."""
    try:
        try_to_bind(listen)
        # It does not listen: no connection comes here.
        with bound(listen, share_port=True) as held:
            yield app.address_at(listen, held.getsockname()[1])
    except AddressUnusable as error:
        raise StartFailed(str(error)) from error


@contextmanager
def _lifeline() -> Iterator[int]:
    """Open a pipe that nothing is written to, whose other end closes with this process."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _variables(settings: Settings, address: str, number: int) -> dict[str, str]:
    """Return what a worker is told, which flags of this process may have said."""
    told = settings.model_dump(exclude_none=True) | {
        "listen": address,
        "share_port": True,
        "workers": 1,
    }
    if settings.prometheus_listen is not None:
        host, _, port = settings.prometheus_listen.rpartition(":")
        told["prometheus_listen"] = f"{host}:{int(port) and int(port) + number}"
    return {f"HERDBOOK_{name.upper()}": str(value) for name, value in told.items()}
