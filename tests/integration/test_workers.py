"""Several workers are one server to those who call, and none of them outlives the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from herdbook import Client
from herdbook.v1 import alias_pb2, alias_pb2_grpc
from tests.support.ports import LOOPBACK, free_ports
from tests.support.server import Engines, ServerProcess, fresh_engines
from tests.support.waiting import wait_until

WORKERS = 3
WATCHES = 12
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


def watches(first_port: int) -> list[float]:
    """How many watches each worker tells Prometheus of."""
    told = []
    for port in range(first_port, first_port + WORKERS):
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics") as response:
            lines = response.read().decode().splitlines()
        told += [float(line.split()[-1]) for line in lines if line.startswith("herdbook_watches")]
    return told


def test_a_watch_on_any_worker_hears_what_another_one_wrote(
    shared_engines: Engines, tmp_path: Path
) -> None:
    metrics = free_ports(WORKERS)
    with (
        ServerProcess(
            shared_engines,
            tmp_path,
            workers=str(WORKERS),
            prometheus_listen=f"{LOOPBACK}:{metrics}",
        ) as server,
        ExitStack() as stack,
    ):
        writer = stack.enter_context(Client(server.address))
        for number in (1, 2):
            writer.register_reference("fraud/tc", f"s3://elsewhere/{number}")
        writer.set_alias("fraud/tc", "champion", 1)
        streams = [watch(stack, server.address) for _ in range(WATCHES)]
        assert {next_version(stream) for stream in streams} == {1}
        held = watches(metrics)
        assert sum(held) == WATCHES
        assert len([count for count in held if count]) > 1
        writer.set_alias("fraud/tc", "champion", 2)
        assert {next_version(stream) for stream in streams} == {2}


def watch(stack: ExitStack, address: str) -> Iterator[alias_pb2.WatchAliasesResponse]:
    """Watch over a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = stack.enter_context(grpc.insecure_channel(address, options))
    request = alias_pb2.WatchAliasesRequest(references=[REFERENCE])
    return alias_pb2_grpc.AliasServiceStub(channel).WatchAliases(request)


def next_version(stream: Iterator[alias_pb2.WatchAliasesResponse]) -> int:
    """The version of the next state, past bookmarks."""
    while not (update := next(stream)).HasField("state"):
        pass
    return update.state.resolution.version


def test_a_worker_that_is_killed_is_replaced(workers: ServerProcess) -> None:
    before = pids(workers)
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: listening(workers) == WORKERS + 1, "another one listens")
    assert len(pids(workers) & before) == WORKERS - 1
    with Client(workers.address) as client:
        assert list(client.list_models()) == []


def listening(workers: ServerProcess) -> int:
    """How many have begun to listen, in all lives."""
    return workers.read_log().count('"listening"')


def test_tokens_are_read_again_by_workers_that_answer_and_by_those_that_start(
    shared_engines: Engines, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ada first\n")
    server = ServerProcess(shared_engines, tmp_path, workers=str(WORKERS), tokens_file=str(tokens))
    server.launch()
    with ending(server):
        wait_until(lambda: len(pids(server)) == WORKERS, "all have been started")
        tokens.write_text("ada second\n")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.announced_address, "all answer")
        wait_until(lambda: reloads(server) == WORKERS, "each has read its tokens again")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: reloads(server) == 2 * WORKERS, "each has read them once more")
        assert listening(server) == WORKERS


def reloads(server: ServerProcess) -> int:
    """How often workers have read their tokens again."""
    return server.read_log().count("tokens reloaded")


@contextmanager
def ending(server: ServerProcess) -> Iterator[None]:
    """End a server that was launched, whatever happens."""
    try:
        yield
    finally:
        server.terminate()


def test_those_that_have_not_begun_to_answer_end_too(
    shared_engines: Engines, tmp_path: Path
) -> None:
    server = ServerProcess(shared_engines, tmp_path, workers=str(WORKERS))
    server.launch()
    wait_until(lambda: len(pids(server)) == WORKERS, "all have been started")
    started = pids(server)
    assert server.terminate() == 0
    assert all(map(is_gone, started))


def test_all_end_when_they_are_asked_to(workers: ServerProcess) -> None:
    before = pids(workers)
    assert workers.terminate() == 0
    assert all(map(is_gone, before))
    assert workers.read_log().count('"stopped"') == WORKERS


def test_all_drain_also_when_each_is_asked_twice(workers: ServerProcess) -> None:
    """As systemd does, which sends to all processes of a service."""
    before = pids(workers)
    workers.process.send_signal(signal.SIGTERM)
    for pid in before:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    assert workers.process.wait(30) == 0
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
    with pytest.raises(RuntimeError, match=r"(?s)none.*Worker \d .* ended with code 1"):
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
