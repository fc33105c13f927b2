"""Several server processes at one address, for machines with many cores."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final

from herdbook_server import app, logs
from herdbook_server.app import StartFailed
from herdbook_server.rpc import calls
from herdbook_server.rpc.server import AddressUnusable, bound, try_to_bind
from herdbook_server.settings import Settings
from herdbook_server.supervision import LIFELINE, READY, STOP_SECONDS

logger = logging.getLogger(__name__)

_COMMAND: Final = (sys.executable, "-P", "-m", "herdbook_server", "serve")
"""Modules that lie in the working directory are none of ours."""

_READY_FILE: Final = "HERDBOOK_READY_FILE"
"""Is written when all answer."""

_RESTART_SECONDS: Final = 1.0


def run(settings: Settings) -> None:
    """Run workers until SIGTERM or SIGINT; one that ends unasked is started again.

    Raises:
        StartFailed: The address cannot be listened at, or a first worker did not start.
    """
    logs.configure(settings.log_format, settings.log_level, request_id=calls.request_id)
    with _held_address(settings.listen) as address, _lifeline() as lifeline:
        workers = [
            Worker(
                number,
                _variables(settings, address, number),
                lifeline,
                stop_seconds=settings.drain_seconds + STOP_SECONDS,
            )
            for number in range(settings.workers)
        ]
        asyncio.run(_run(workers, lambda: _announce(settings, address)))


class Worker:
    """One server process, again and again."""

    def __init__(
        self,
        number: int,
        variables: Mapping[str, str],
        lifeline: IO[bytes],
        *,
        stop_seconds: float,
    ) -> None:
        """Prepare to start it; one that does not stop in `stop_seconds` is killed."""
        self._number = number
        self._variables = variables
        self._lifeline = lifeline
        self._stop_seconds = stop_seconds
        self.answered = asyncio.Event()
        """Set when the first of its lives has begun to answer."""
        self._stopped = asyncio.Event()
        self._killed = False
        self._answers = False
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
                raise StartFailed(f"{self} ended with code {code} before it answered.")
            logger.warning("%s ended with %s and is started again", self, code)
            with suppress(TimeoutError):
                async with asyncio.timeout(_RESTART_SECONDS):
                    await self._stopped.wait()

    def __str__(self) -> str:
        return f"Worker {self._number} (process {self._process.pid if self._process else 'none'})"

    def stop(self) -> None:
        """Have it drain and end for good, or be killed if it does not."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._send(signal.SIGTERM)
            asyncio.get_running_loop().call_later(self._stop_seconds, self.kill)

    def kill(self) -> None:
        """End it at once."""
        self._killed = True
        if self._process is not None and self._process.returncode is None:
            logger.warning("%s has not ended and is killed", self)
            self._send(signal.SIGKILL)

    def reload(self) -> None:
        """Have it read its tokens again, once it can be asked to."""
        self._reload_due = True
        if self._answers:
            self._send_reload()

    async def _live(self) -> int:
        loop = asyncio.get_running_loop()
        try:
            with _pipe() as (ready, telling):
                loop.add_reader(ready, self._on_ready, ready)
                try:
                    process = self._process = await self._start(telling)
                    logger.info("%s is started", self)
                    return await self._ended(process)
                finally:
                    self._answers = False
                    loop.remove_reader(ready)
        except OSError as error:
            logger.warning("%s cannot be started: %s", self, error)
            return os.EX_OSERR

    async def _start(self, telling: IO[bytes]) -> Process:
        inherited = {name: text for name, text in os.environ.items() if name != _READY_FILE}
        own = {LIFELINE: str(self._lifeline.fileno()), READY: str(telling.fileno())}
        return await asyncio.create_subprocess_exec(
            *_COMMAND,
            env={**inherited, **self._variables, **own},
            pass_fds=[self._lifeline.fileno(), telling.fileno()],
            # What a terminal sends comes to this process alone, which hands it on.
            start_new_session=True,
        )

    def _on_ready(self, ready: IO[bytes]) -> None:
        ready.read(1)
        asyncio.get_running_loop().remove_reader(ready)
        if self._stopped.is_set():
            return
        self._answers = True
        self.answered.set()
        if self._reload_due:
            self._send_reload()

    async def _ended(self, process: Process) -> int:
        if self._stopped.is_set():
            # Asked to while it was started.
            self._send(signal.SIGKILL if self._killed else signal.SIGTERM)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            # Another worker could not be started.
            self.stop()
            await process.wait()
            raise

    def _send_reload(self) -> None:
        self._reload_due = False
        self._send(signal.SIGHUP)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _run(workers: Sequence[Worker], announce: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, workers, asked)
    loop.add_signal_handler(signal.SIGHUP, _reload, workers)
    try:
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(worker.run()) for worker in workers]
            announcing = group.create_task(_when_all_answer(workers, announce))
            await asyncio.wait(runs)
            announcing.cancel()
    except ExceptionGroup as failures:
        # The others were ended for it.
        raise failures.exceptions[0] from None


def _end(workers: Sequence[Worker], asked: asyncio.Event) -> None:
    """Stop all; when asked once more, at once."""
    for worker in workers:
        if asked.is_set():
            worker.kill()
        else:
            worker.stop()
    asked.set()


def _reload(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.reload()


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
        with bound(listen, share_port=True) as held, socket.socket(socket.AF_UNIX) as claim:
            where = held.getsockname()[:2]
            _claim(claim, where)
            yield app.address_at(listen, where[1])
    except AddressUnusable as error:
        raise StartFailed(str(error)) from error


def _claim(claim: socket.socket, where: tuple[str, int]) -> None:
    """Have other workers know of these before they listen: their ports look alike to the kernel.

    A name of the abstract namespace goes with its process, whatever ends that; see unix(7).
    """
    try:
        claim.bind("\0herdbook-workers:{}:{}".format(*where))
    except OSError as error:
        raise AddressUnusable(
            f"Other workers are about to listen at {where[0]}:{where[1]}."
        ) from error


@contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "wb", buffering=0) as writer:  # noqa: PTH123 - descriptors
        yield reader, writer


@contextmanager
def _lifeline() -> Iterator[IO[bytes]]:
    """Open a pipe that nothing is written to, whose other end closes with this process."""
    with _pipe() as (reading, _):
        yield reading


def _variables(settings: Settings, address: str, number: int) -> dict[str, str]:
    """Return what a worker is told, which flags of this process may have said."""
    told = settings.model_dump(exclude_none=True, exclude={"ready_file"}) | {
        "listen": address,
        "share_port": True,
        "workers": 1,
    }
    if settings.prometheus_listen is not None:
        host, _, port = settings.prometheus_listen.rpartition(":")
        told["prometheus_listen"] = f"{host}:{int(port) and int(port) + number}"
    return {f"HERDBOOK_{name.upper()}": str(value) for name, value in told.items()}
