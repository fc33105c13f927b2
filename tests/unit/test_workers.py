"""What supervises workers, without servers."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from herdbook_server import workers
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
