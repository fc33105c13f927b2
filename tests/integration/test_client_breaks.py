"""Transfers and watches against servers and clients that die in the middle."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from hashlib import sha256
from pathlib import Path
from random import Random

from herdbook import Client, ReferenceState, TransferProgress
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

MIB = 1024 * 1024
FILE_MIB = 48

PUSH_AND_MEASURE = """
import resource, sys
from pathlib import Path
from herdbook import Client

with Client(sys.argv[1], cache=False) as client:
    version = client.push(sys.argv[2], Path(sys.argv[3]), capture=False)
    client.pull(version.reference, Path(sys.argv[3] + ".pulled"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def write_random(path: Path, size_mib: int, *, seed: int = 1) -> None:
    random = Random(seed)
    with path.open("wb") as opened:
        for _ in range(size_mib):
            opened.write(random.randbytes(MIB))


def version_of(state: ReferenceState) -> int | None:
    return state.resolution and state.resolution.version


def digest(path: Path) -> bytes:
    with path.open("rb") as opened:
        return sha256(opened.read()).digest()


def test_a_push_survives_the_death_of_the_server(own_server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_random(path, FILE_MIB)
    killed = threading.Event()

    def kill_half_way(progress: TransferProgress) -> None:
        if progress.moved_bytes > progress.total_bytes // 2 and not killed.is_set():
            killed.set()
            own_server.kill()
            threading.Thread(target=own_server.start).start()

    with Client(own_server.address, cache=False) as client:
        version = client.push("m", path, capture=False, progress=kill_half_way)
        assert killed.is_set()
        assert [found.number for found in client.list_versions("m")] == [1]
        client.pull(version.reference, tmp_path / "out")
    assert digest(tmp_path / "out" / "weights") == digest(path)


def test_a_pull_survives_the_death_of_the_server(own_server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_random(path, FILE_MIB)
    killed = threading.Event()

    def kill_half_way(progress: TransferProgress) -> None:
        if progress.moved_bytes > progress.total_bytes // 2 and not killed.is_set():
            killed.set()
            own_server.kill()
            threading.Thread(target=own_server.start).start()

    with Client(own_server.address, cache=False) as client:
        client.push("m", path, capture=False)
        pulled = client.pull("m", tmp_path / "out", progress=kill_half_way)
    assert killed.is_set()
    assert pulled.transfer.moved_bytes == FILE_MIB * MIB
    assert digest(tmp_path / "out" / "weights") == digest(path)


def test_a_watch_survives_the_death_of_the_server(own_server: ServerProcess) -> None:
    with Client(own_server.address) as client, Client(own_server.address) as other:
        other.register_reference("m", "s3://bucket/model", alias="a", capture=False)
        other.register_reference("m", "s3://bucket/model", capture=False)
        states = client.watch("m@a")
        assert next(states).resolution is not None
        own_server.kill()
        own_server.start()
        other.set_alias("m", "a", 2)
        resolution = next(states).resolution
        assert resolution is not None
        assert resolution.version == 2


def test_the_last_state_comes_through_any_number_of_moves(server: ServerProcess) -> None:
    model = uuid.uuid4().hex
    with Client(server.address) as client, Client(server.address) as other:
        for alias in ("a", None, None):
            other.register_reference(model, "s3://bucket/model", alias=alias, capture=False)
        seen: list[ReferenceState] = []
        states = client.watch(f"{model}@a")
        thread = threading.Thread(target=lambda: seen.extend(states))
        thread.start()
        for number in range(30):
            other.set_alias(model, "a", 1 + number % 2)
        other.set_alias(model, "a", 3)
        wait_until(lambda: seen and version_of(seen[-1]) == 3, "the last move is seen")
        client.close()
        thread.join()
    revisions = [state.revision for state in seen]
    assert revisions == sorted(set(revisions))


def test_memory_does_not_grow_with_the_size_of_a_file(
    server: ServerProcess, tmp_path: Path
) -> None:
    peaks: list[int] = []
    for size_mib in (64, 192):
        path = tmp_path / f"weights{size_mib}"
        write_random(path, size_mib, seed=size_mib)
        measured = subprocess.run(
            [sys.executable, "-c", PUSH_AND_MEASURE, server.address, uuid.uuid4().hex, path],
            capture_output=True,
            check=True,
            text=True,
        )
        peaks.append(int(measured.stdout))
    assert peaks[1] - peaks[0] < 48, f"peaks in MiB: {peaks}"
