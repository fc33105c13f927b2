"""An alias that moves tens of thousands of times: what grows in server, live model and sidecar.

`python -m tests.faults.many_moves --moves 50000` samples memory, threads and open files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from herdbook import Client
from tests.support.processes import in_background
from tests.support.server import Engines, ServerProcess
from tests.support.waiting import wait_until

MODEL = "fraud/tc"
REFERENCE = f"{MODEL}@champion"
VERSIONS = 5
SAMPLES = 10

SERVING = """
import sys, time
from herdbook import LiveModel
with LiveModel(sys.argv[1], loader=lambda path: bytearray((path / "weights").read_bytes()),
               server=sys.argv[2], close=lambda model: model.clear()) as live:
    while True:
        with live.lease() as model:
            assert len(model) == 100_000
        time.sleep(0.001)
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a process is."""

    memory_bytes: int
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Size:
        """Measure a process."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        memory_bytes = 1024 * int(status["VmRSS"].split()[0])
        return cls(memory_bytes, int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208


def move_again_and_again(home: Path, *, moves: int) -> dict[str, list[Size]]:
    """Move an alias to and fro; return what server, live model and sidecar grew to, over time."""
    engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(engines, home))
        client = stack.enter_context(Client(server.address, cache=False))
        for version in range(1, VERSIONS + 1):
            push(client, home, version)
        client.set_alias(MODEL, "champion", 1)
        live = stack.enter_context(
            started(home, "live", [sys.executable, "-c", SERVING, REFERENCE, server.address])
        )
        sidecar = stack.enter_context(started(home, "sidecar", sidecar_command(server, home)))
        pids = {"server": server.process.pid, "live model": live.pid, "sidecar": sidecar.pid}
        wait_until(lambda: converged(client), "both serve")
        sizes: dict[str, list[Size]] = {name: [] for name in pids}
        for sample in range(SAMPLES):
            for move in range(moves // SAMPLES):
                client.set_alias(MODEL, "champion", 1 + (sample + move) % VERSIONS)
            wait_until(lambda: converged(client), "both serve what the alias names")
            for name, pid in pids.items():
                sizes[name].append(Size.of(pid))
    return sizes


def converged(client: Client) -> bool:
    """Whether both replicas serve what the alias names."""
    seen = client.get_convergence(REFERENCE)
    return seen.converged_count == 2


def push(client: Client, home: Path, version: int) -> None:
    """Push a version."""
    directory = home / f"pushed {version}"
    directory.mkdir()
    (directory / "weights").write_bytes(bytes([version]) * 100_000)
    client.push(MODEL, directory, capture=False)


def sidecar_command(server: ServerProcess, home: Path) -> list[str]:
    """Return how the sidecar is started."""
    command = [sys.executable, "-m", "herdbook.cli", "sidecar", REFERENCE, str(home / "served")]
    return [*command, "--server", server.address]


def started(
    home: Path, name: str, command: Sequence[str]
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a process with a cache of its own until the block ends."""
    environment = {**os.environ, "HERDBOOK_CACHE_DIR": str(home / f"cache of {name}")}
    return in_background(command, log=home / f"{name}.log", env=environment)


def main(arguments: Sequence[str] | None = None) -> None:
    """Tell how each process grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=50_000)
    moves = parser.parse_args(arguments).moves
    with tempfile.TemporaryDirectory() as directory:
        for name, sizes in move_again_and_again(Path(directory), moves=moves).items():
            sys.stdout.write(
                f"{name}, each {moves // SAMPLES} moves: memory"
                f" {', '.join(f'{size.memory_bytes / 2**20:.0f}' for size in sizes)} MiB;"
                f" threads {', '.join(str(size.threads) for size in sizes)};"
                f" files {', '.join(str(size.files) for size in sizes)}\n"
            )


if __name__ == "__main__":
    main()
