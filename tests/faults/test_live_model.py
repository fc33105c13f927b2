"""Live models whose server dies, whose cache rots, and whose neighbours are killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from herdbook.cache import Cache, CacheUnavailable
from herdbook.cache.contents import Stretch
from herdbook.client import Client
from herdbook.errors import LocalDiskFull
from herdbook.live import FirstLoadFailed, LiveModel, LiveState
from tests.support.server import ServerProcess, fresh_engines
from tests.support.waiting import wait_until
from tests.unit.cache.sources import MemorySource

MODEL = "fraud/tc"
REFERENCE = f"{MODEL}@champion"


def read_text(path: Path) -> str:
    text = (path / "text").read_text()
    if text == "broken":
        raise ValueError("weights do not fit")
    return text


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    with (
        fresh_engines("sqlite+local", tmp_path, request) as engines,
        ServerProcess(engines, tmp_path, drain_seconds="1") as process,
    ):
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, cache=False) as made:
        yield made


def push_champion(client: Client, home: Path, text: str) -> None:
    directory = home / f"model {text}"
    directory.mkdir()
    (directory / "text").write_text(text)
    (directory / "shared.bin").write_bytes(b"shared" * 1000)
    client.push(MODEL, directory, capture=False, alias="champion")


def live_model(
    server: ServerProcess, home: Path, *, timeout_seconds: float = 60.0
) -> LiveModel[str]:
    return LiveModel(
        REFERENCE,
        loader=read_text,
        server=server.address,
        cache_dir=home / "cache",
        timeout_seconds=timeout_seconds,
    )


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_server_that_goes_leaves_the_model_serving_and_is_followed_when_it_returns(
    server: ServerProcess, client: Client, tmp_path: Path, end: str
) -> None:
    push_champion(client, tmp_path, "one")
    with live_model(server, tmp_path) as live:
        wait_until(lambda: live.status().connected, "the server is followed")
        getattr(server, end)()
        wait_until(lambda: not live.status().connected, "the outage shows")
        assert live.current == "one"
        assert live.status().outage_reason
        server.start()
        push_champion(client, tmp_path, "two")
        wait_until(lambda: live.current == "two", "version 2 serves")
        wait_until(
            lambda: client.get_convergence(REFERENCE).converged_count == 1, "the fleet shows it"
        )


def test_after_a_restart_the_server_learns_again_who_serves_what(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    push_champion(client, tmp_path, "one")
    with live_model(server, tmp_path):
        wait_until(lambda: client.get_convergence(REFERENCE).converged_count == 1, "it serves")
        server.kill()
        server.start()
        wait_until(
            lambda: client.get_convergence(REFERENCE).converged_count == 1, "it says so again"
        )


def test_a_start_with_the_server_down_serves_from_the_cache_and_catches_up(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    push_champion(client, tmp_path, "one")
    with live_model(server, tmp_path) as live:
        assert live.current == "one"
        wait_until(lambda: live.status().state is LiveState.SERVING, "nothing drains")
    push_champion(client, tmp_path, "two")
    server.kill()
    with live_model(server, tmp_path) as live:
        assert live.current == "one"
        assert not live.status().connected
        server.start()
        wait_until(lambda: live.current == "two", "version 2 serves")


def test_a_restart_on_a_broken_target_serves_what_served_last(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    push_champion(client, tmp_path, "one")
    live_model(server, tmp_path).start().close()
    push_champion(client, tmp_path, "broken")
    with live_model(server, tmp_path) as live:
        assert live.current == "one"
        wait_until(lambda: client.get_convergence(REFERENCE).failed_count == 1, "it is reported")


def rot(cache: Path) -> None:
    (file,) = (cache / "versions").rglob("text")
    file.chmod(0o644)
    file.write_text("0n3")


def test_a_rotten_cache_heals_while_the_server_answers(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    push_champion(client, tmp_path, "one")
    live_model(server, tmp_path).start().close()
    rot(tmp_path / "cache")
    with live_model(server, tmp_path) as live:
        assert live.current == "one"


def test_a_rotten_cache_is_not_served_while_the_server_is_down(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    push_champion(client, tmp_path, "one")
    live_model(server, tmp_path).start().close()
    rot(tmp_path / "cache")
    server.kill()
    with pytest.raises(FirstLoadFailed):
        live_model(server, tmp_path, timeout_seconds=2).start()


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    push_champion(client, tmp_path, "one")
    live = LiveModel(
        REFERENCE, loader=read_text, server=server.address, cache_dir="/proc/self/herdbook"
    )
    with pytest.raises(FirstLoadFailed, match="HERDBOOK_CACHE_DIR") as caught:
        live.start()
    assert isinstance(caught.value.__cause__, CacheUnavailable)


def test_a_full_disk_leaves_the_model_serving_and_is_told_to_the_fleet(
    server: ServerProcess, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_champion(client, tmp_path, "one")

    def full(_: Stretch, data: bytes) -> None:
        raise OSError(errno.ENOSPC, f"no space left for {len(data)} bytes")

    with live_model(server, tmp_path) as live:
        monkeypatch.setattr(Stretch, "write", full)
        push_champion(client, tmp_path, "two")
        wait_until(lambda: client.get_convergence(REFERENCE).failed_count == 1, "it is reported")
        failure = live.status().failure
        assert failure is not None
        assert isinstance(failure.error, LocalDiskFull)
        assert live.current == "one"
        monkeypatch.undo()
        push_champion(client, tmp_path, "three")
        wait_until(lambda: live.current == "three", "version 3 serves")


HANGING_FETCH = """
import sys
from pathlib import Path
from herdbook.cache import Cache
from tests.faults.test_live_model import source

fetched = source()
fetched.breaks_after = None
genuine = fetched.download

def download(chunks, take):
    for chunk in chunks[:3]:
        take(chunk, fetched.stored[chunk])
    print("hanging", flush=True)
    sys.stdin.read()

fetched.download = download
Cache(Path(sys.argv[1])).acquire(fetched.digest, fetched)
"""


def source() -> MemorySource:
    """The same version in every process."""
    return MemorySource({"model.bin": bytes(range(256)) * 40 + b"end", "config": b"{}"})


def test_a_process_killed_in_a_fetch_leaves_no_lock_and_what_it_had_fetched(
    tmp_path: Path,
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HANGING_FETCH, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"hanging\n"
        child.send_signal(signal.SIGKILL)
    fetched = source()
    with Cache(tmp_path).acquire(fetched.digest, fetched) as version:
        for path, data in fetched.files.items():
            assert (version.path / path).read_bytes() == data
    assert len(fetched.downloaded) == len(fetched.stored) - 3
