"""Pushes that are killed in the middle, with the server or without it, and run again.

`python -m tests.faults.killed_push --mib 512` shows the bytes of both runs.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from herdbook import Client
from herdbook.transfer.verifying import verify_directory
from tests.support.server import Engines, ServerProcess

MIB = 1024 * 1024
MODEL = "fraud/tc"

PUSH = """
import sys
from pathlib import Path
from herdbook import Client

def tell(progress):
    print(progress.moved_bytes, flush=True)

with Client(sys.argv[1], cache=False) as client:
    client.push(sys.argv[2], Path(sys.argv[3]), capture=False, progress=tell)
"""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What two runs of one push moved."""

    size_bytes: int
    first_moved_bytes: int
    """As the killed run last said."""
    second_moved_bytes: int
    second_saved_bytes: int
    """What the second run found there."""
    versions: Sequence[int]
    whole: bool
    """Whether the version that came of it is what was pushed."""


def kill_and_push_again(
    server: ServerProcess, home: Path, *, size_bytes: int, kill_server: bool
) -> Resumed:
    """Kill a push half way, by SIGKILL, then run it again."""
    files = home / "pushed"
    files.mkdir()
    write_random(files / "weights", size_bytes)
    moved_bytes = push_half(server, files, size_bytes // 2, kill_server=kill_server)
    with Client(server.address, cache=False) as client:
        transfer = client.push(MODEL, files, capture=False).transfer
        assert transfer is not None
        pulled = client.pull(f"{MODEL}:1", home / "pulled")
        manifest = client.get_manifest(f"{MODEL}:1").manifest
        return Resumed(
            size_bytes=size_bytes,
            first_moved_bytes=moved_bytes,
            second_moved_bytes=transfer.moved_bytes,
            second_saved_bytes=transfer.saved_bytes,
            versions=[version.number for version in client.list_versions(MODEL)],
            whole=verify_directory(pulled.path, manifest) and verify_directory(files, manifest),
        )


def push_half(server: ServerProcess, files: Path, enough_bytes: int, *, kill_server: bool) -> int:
    """Push until enough has moved, then kill the client and, before it, perhaps the server."""
    command = [sys.executable, "-c", PUSH, server.address, MODEL, str(files)]
    moved_bytes = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pushing:
        assert pushing.stdout is not None
        while moved_bytes <= enough_bytes and (line := pushing.stdout.readline()):
            moved_bytes = int(line)
        if kill_server:
            server.kill()
        pushing.kill()
    if kill_server:
        server.start()
    return moved_bytes


def write_random(path: Path, size_bytes: int) -> None:
    """Write bytes that no two chunks share."""
    random = Random(7)
    with path.open("wb") as opened:
        for _ in range(0, size_bytes, MIB):
            opened.write(random.randbytes(MIB))


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill the server, then the client; tell what moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    size_bytes = parser.parse_args(arguments).mib * MIB
    for kill_server in (True, False):
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
            server = stack.enter_context(ServerProcess(engines, home))
            seen = kill_and_push_again(server, home, size_bytes=size_bytes, kill_server=kill_server)
        sys.stdout.write(
            f"{'server and client' if kill_server else 'client'} killed: of {mib(size_bytes)}"
            f" the first run moved {mib(seen.first_moved_bytes)},"
            f" the second found {mib(seen.second_saved_bytes)}"
            f" and moved {mib(seen.second_moved_bytes)};"
            f" versions {seen.versions}, whole: {seen.whole}\n"
        )


def mib(size_bytes: int) -> str:
    """Return a size in MiB."""
    return f"{size_bytes / MIB:.0f} MiB"


if __name__ == "__main__":
    main()
