"""Several server processes at one address, for machines with many cores."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from herdbook_server import app, logs
from herdbook_server.app import StartFailed
from herdbook_server.rpc import calls
from herdbook_server.rpc.server import AddressUnusable, bound, try_to_bind
from herdbook_server.settings import Settings

logger = logging.getLogger(__name__)

LIFELINE: Final = "HERDBOOK_LIFELINE"
"""Names the descriptor at which a worker reads an end when whoever started it is gone."""

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
        stopping = _forwarding(workers)
        stack.callback(_end, workers, stopping)
        _await_first(workers, stopping)
        if not stopping.is_set():
            fields = {"address": address, "workers": len(workers)}
            logger.info("all workers are listening", extra={"fields": fields})
            app.write_ready_file(settings, address)
        while not stopping.wait(_LOOK_SECONDS):
            _replace_ended(workers)


class Worker:
    """One server process, again and again."""

    def __init__(self, variables: dict[str, str], lifeline: int, ready_file: Path) -> None:
        self._ready_file = ready_file
        self._lifeline = lifeline
        self._environment = {
            **os.environ,
            **variables,
            "HERDBOOK_READY_FILE": str(ready_file),
            LIFELINE: str(lifeline),
        }
        self._start_at = 0.0
        self._process = self._started()

    @property
    def has_answered(self) -> bool:
        """Whether it answers, or did so in a life before."""
        return self._ready_file.exists()

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    def start_again(self) -> None:
        """Start it once more, a moment after it ended."""
        if not self._start_at:
            logger.warning("worker %d ended with %s", self._process.pid, self.exit_code)
            self._start_at = time.monotonic() + _RESTART_SECONDS
        elif time.monotonic() >= self._start_at:
            self._start_at = 0.0
            self._process = self._started()

    def send(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.exit_code is None:
            self._process.send_signal(number)

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "herdbook_server", "serve"],
            env=self._environment,
            pass_fds=[self._lifeline],
            # What a terminal sends comes to this process alone, which hands it on.
            start_new_session=True,
        )


def _forwarding(workers: list[Worker]) -> threading.Event:
    """Hand signals on to the workers from now on; the event is set when they are to stop."""
    stopping = threading.Event()

    def forward(number: int, _: FrameType | None) -> None:
        ends = number in {signal.SIGTERM, signal.SIGINT}
        for worker in workers:
            worker.send(signal.SIGTERM if ends else number)
        if ends:
            stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    return stopping


def _await_first(workers: list[Worker], stopping: threading.Event) -> None:
    """Wait until all answer; those of one that ends instead has said why."""
    while not all(worker.has_answered for worker in workers) and not stopping.wait(_LOOK_SECONDS):
        ended = [worker.exit_code for worker in workers if worker.exit_code is not None]
        if ended:
            raise StartFailed(f"A worker ended with code {ended[0]} before it answered.")


def _replace_ended(workers: list[Worker]) -> None:
    for worker in workers:
        if worker.exit_code is not None:
            worker.start_again()


def _end(workers: list[Worker], stopping: threading.Event) -> None:
    if not stopping.is_set():
        for worker in workers:
            worker.send(signal.SIGTERM)
    for worker in workers:
        worker.wait()


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
        told["prometheus_listen"] = f"{host}:{int(port) + number}"
    return {f"HERDBOOK_{name.upper()}": str(value) for name, value in told.items()}
