"""Several workers are one server to those who call, and none of them outlives the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from herdbook import Client
from tests.support.server import Engines, ServerProcess, fresh_engines
from tests.support.waiting import wait_until

WORKERS = 3
REFERENCE = "fraud/tc@champion"


@pytest.fixture
def shared_engines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engines]:
    """Engines that several processes may use."""
    with fresh_engines("postgres+local", tmp_path, request) as made:
        yield made


@pytest.fixture
def workers(shared_engines: Engines, tmp_path: Path) -> Iterator[ServerProcess]:
    """Some workers at one address."""
    with ServerProcess(shared_engines, tmp_path, workers=str(WORKERS)) as process:
        yield process


def pids(workers: ServerProcess) -> set[int]:
    """The processes that serve."""
    parent = workers.process.pid
    return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked how."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def test_a_watch_on_any_worker_hears_what_another_one_wrote(workers: ServerProcess) -> None:
    assert len(pids(workers)) == WORKERS
    with Client(workers.address) as writer:
        for number in (1, 2):
            writer.register_reference("fraud/tc", f"s3://elsewhere/{number}")
        writer.set_alias("fraud/tc", "champion", 1)
        watchers = [Client(workers.address) for _ in range(2 * WORKERS)]
        streams = [watcher.watch([REFERENCE]) for watcher in watchers]
        assert {next(stream).resolution.version for stream in streams} == {1}
        writer.set_alias("fraud/tc", "champion", 2)
        assert {next(stream).resolution.version for stream in streams} == {2}
        for watcher in watchers:
            watcher.close()


def test_a_worker_that_is_killed_is_replaced(workers: ServerProcess) -> None:
    before = pids(workers)
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(pids(workers) - before) == 1, "another one is there")
    wait_until(lambda: len(pids(workers)) == WORKERS, "all are there")
    with Client(workers.address) as client:
        assert list(client.list_models()) == []


def test_all_end_when_they_are_asked_to(workers: ServerProcess) -> None:
    before = pids(workers)
    assert workers.terminate() == 0
    assert all(map(is_gone, before))
    assert workers.read_log().count('"stopped"') == WORKERS


def test_none_outlives_the_process_that_started_it(workers: ServerProcess) -> None:
    before = pids(workers)
    workers.kill()
    wait_until(lambda: all(map(is_gone, before)), "all have ended")
    assert workers.read_log().count('"stopped"') == WORKERS


def test_a_port_that_others_listen_at_is_not_shared_by_accident(
    workers: ServerProcess, shared_engines: Engines, tmp_path: Path
) -> None:
    second = ServerProcess(shared_engines, tmp_path, workers="2", listen=workers.address)
    with pytest.raises(RuntimeError, match="cannot be listened at"):
        second.start()


def test_what_keeps_a_worker_from_starting_ends_all(
    shared_engines: Engines, tmp_path: Path
) -> None:
    server = ServerProcess(
        shared_engines, tmp_path, workers="2", tokens_file=str(tmp_path / "none")
    )
    with pytest.raises(RuntimeError, match=r"(?s)none.*A worker ended with code 1"):
        server.start()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "2"], "--workers needs --database postgresql"),
        (
            ["--workers", "2", "--database", "postgresql://x/y", "--listen", "unix:/tmp/x"],
            "--workers needs a port",
        ),
    ],
)
def test_workers_need_what_can_be_shared(arguments: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "herdbook_server", "serve", *arguments]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert ended.returncode == 78
    assert said in ended.stderr
