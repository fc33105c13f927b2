"""What supervises workers, without servers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from herdbook_server import workers
from herdbook_server.app import StartFailed
from herdbook_server.workers import Worker

DEADLINE_SECONDS = 20
NEVER = 1000.0


@pytest.fixture
async def frozen(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """A worker that heeds no signal that can be heeded, and would be killed at once or never."""
    monkeypatch.setattr(workers, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(100)"))
    with workers._lifeline() as lifeline:
        worker = Worker({}, lifeline, stop_seconds=NEVER)
        running = asyncio.create_task(worker.run())
        while worker._process is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        os.kill(worker._process.pid, signal.SIGSTOP)
        yield worker
        async with asyncio.timeout(DEADLINE_SECONDS):
            await running
        assert worker._process.returncode == -signal.SIGKILL


async def test_a_worker_that_does_not_stop_is_killed(frozen: Worker) -> None:
    frozen._stop_seconds = 0.01
    frozen.stop()


async def test_a_worker_that_is_stopped_twice_is_killed(frozen: Worker) -> None:
    frozen.stop()
    frozen.stop()


def test_two_sets_of_workers_that_start_at_once_share_no_port() -> None:
    with workers._held_address("127.0.0.1:0") as address:
        refused = pytest.raises(StartFailed, match="Other workers are about to listen")
        with refused, workers._held_address(address):
            pass
    with workers._held_address(address):
        pass
