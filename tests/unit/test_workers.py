"""What supervises workers, without servers."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import pytest

from herdbook_server import app, supervision, workers
from herdbook_server.app import StartFailed
from herdbook_server.settings import read_settings
from herdbook_server.workers import Worker

DEADLINE_SECONDS = 20
NEVER = 1000.0


@pytest.fixture
async def frozen(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """A worker that is frozen, with endless time to stop unless a test shortens it."""
    monkeypatch.setattr(workers, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(100)"))
    with workers._lifeline() as lifeline:
        worker = Worker(0, {}, lifeline, stop_seconds=NEVER)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(DEADLINE_SECONDS):
            while worker._process is None:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        _freeze(worker._process.pid)
        try:
            yield worker
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.shield(running)
            assert worker._process.returncode == -signal.SIGKILL
        finally:
            worker.kill()


def _freeze(pid: int) -> None:
    """Stop a process; return when it stands still, as a signal before that would still reach it."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


async def test_a_worker_that_does_not_stop_is_killed(frozen: Worker) -> None:
    frozen._stop_seconds = 0.01
    frozen.stop()


async def test_workers_that_are_asked_to_stop_twice_are_killed(frozen: Worker) -> None:
    asked = asyncio.Event()
    workers._end([frozen], asked)
    workers._end([frozen], asked)


async def test_a_worker_that_is_asked_twice_while_it_starts_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100)"
    monkeypatch.setattr(workers, "_COMMAND", (sys.executable, "-c", deaf))
    begun, asked = asyncio.Event(), asyncio.Event()
    start = Worker._start

    async def slowly(worker: Worker, telling: IO[bytes]) -> Process:
        begun.set()
        process = await start(worker, telling)
        await asyncio.sleep(0.2)
        return process

    monkeypatch.setattr(Worker, "_start", slowly)
    with workers._lifeline() as lifeline:
        worker = Worker(0, {}, lifeline, stop_seconds=NEVER)
        running = asyncio.create_task(worker.run())
        await begun.wait()
        workers._end([worker], asked)
        workers._end([worker], asked)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await running
    assert worker._process is not None
    assert worker._process.returncode == -signal.SIGKILL


async def test_a_worker_does_not_inherit_the_ready_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERDBOOK_READY_FILE", "ready")
    look = "import os, sys; sys.exit('HERDBOOK_READY_FILE' in os.environ)"
    monkeypatch.setattr(workers, "_COMMAND", (sys.executable, "-c", look))
    with workers._lifeline() as lifeline:
        worker = Worker(0, {}, lifeline, stop_seconds=NEVER)
        with pytest.raises(StartFailed, match="code 0 before"):
            await worker.run()


LEFT_ALONE = """
import asyncio, time
from herdbook_server import supervision

async def hang():
    supervision.when_left_alone(lambda: None, stop_seconds=0.1)
    print("hangs", flush=True)
    time.sleep(100)

asyncio.run(hang())
"""


def test_a_worker_that_hangs_does_not_outlive_its_supervisor() -> None:
    with workers._pipe() as (lifeline, held):
        descriptor = lifeline.fileno()
        with subprocess.Popen(
            [sys.executable, "-c", LEFT_ALONE],
            env={**os.environ, supervision.LIFELINE: str(descriptor)},
            pass_fds=[descriptor],
            stdout=subprocess.PIPE,
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"hangs\n"
            assert worker.poll() is None
            held.close()
            assert worker.wait(DEADLINE_SECONDS) == os.EX_SOFTWARE


@pytest.mark.parametrize("place", [".", "directory"])
def test_a_ready_file_that_cannot_be_written_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    settings = read_settings(ready_file=Path(place))
    with pytest.raises(StartFailed, match=f"ready file {place} cannot be written: "):
        app.write_ready_file(settings, "127.0.0.1:7411")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


async def test_a_worker_that_cannot_be_started_has_not_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with workers._lifeline() as lifeline:
        worker = Worker(0, {}, lifeline, stop_seconds=NEVER)
        monkeypatch.setattr(os, "pipe", refuse)
        with pytest.raises(StartFailed, match=f"code {os.EX_OSERR}"):
            await worker.run()


def test_the_ready_file_is_no_business_of_a_worker(tmp_path: Path) -> None:
    settings = read_settings(
        workers=2,
        database="postgresql://x/y",
        ready_file=tmp_path / "ready",
        prometheus_listen="127.0.0.1:9411",
    )
    told = workers._variables(settings, "127.0.0.1:7411", 1)
    assert "HERDBOOK_READY_FILE" not in told
    assert told["HERDBOOK_WORKERS"] == "1"
    assert told["HERDBOOK_PROMETHEUS_LISTEN"] == "127.0.0.1:9412"


def test_two_sets_of_workers_that_start_at_once_share_no_port() -> None:
    with workers._held_address("127.0.0.1:0") as address:
        refused = pytest.raises(StartFailed, match="Other workers are about to listen")
        with refused, workers._held_address(address):
            pass
    with workers._held_address(address):
        pass
