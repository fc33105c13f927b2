"""How soon a server answers after its process was started."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import grpc

from herdbook.v1.server_pb2 import GetServerInfoRequest
from herdbook.v1.server_pb2_grpc import ServerServiceStub
from tests.bench.measuring import Row, take_turns
from tests.bench.options import Options
from tests.bench.servers import has_text, new_directory, new_path, serve_arguments
from tests.support.processes import running

TITLE = "from the start of the process to the first answer, against `import grpc.aio`"


async def run(options: Options) -> list[Row]:
    """Measure the first start on an empty directory, and starts on the one it leaves behind."""
    restarted = new_directory(options.home, "restarted")
    return [
        take_turns(baseline=import_grpc, subject=subject, rounds=options.rounds).compare(
            name, baseline="import grpc.aio", unit="s", better="lower"
        )
        for name, subject in (
            ("sqlite, empty directory", lambda: start(new_directory(options.home, "started"))),
            ("sqlite, started before", lambda: start(restarted)),
        )
    ]


def import_grpc() -> float:
    """Return how long a process takes that imports gRPC and ends, in seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import grpc.aio"], check=True)
    return time.perf_counter() - began


def start(home: Path) -> float:
    """Start a server, ask it something, stop it; return the seconds to the answer."""
    ready_file = new_path(home, "ready")
    command = [sys.executable, "-m", "herdbook_server", *serve_arguments(home, ready_file)]
    began = time.perf_counter()
    with running(command, ready=lambda: has_text(ready_file), log=ready_file.with_suffix(".log")):
        with grpc.insecure_channel(ready_file.read_text().strip()) as channel:
            answer = ServerServiceStub(channel).GetServerInfo(GetServerInfoRequest())
        seconds = time.perf_counter() - began
        assert answer.database == "sqlite"
        return seconds
