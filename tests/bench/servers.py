"""Servers in processes of their own, each in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import peak_memory_bytes, processor_seconds
from tests.support.ports import LOOPBACK
from tests.support.processes import running


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    address: str
    pid: int

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory that it ever had resident."""
        return peak_memory_bytes(self.pid)

    @property
    def processor_seconds(self) -> float:
        """The time that processors have spent on it."""
        return processor_seconds(self.pid)


@contextlib.contextmanager
def bare_server(home: Path) -> Iterator[Server]:
    """Run a server with nothing but the baselines until the block ends."""
    ready_file = new_path(home, "ready")
    command = [sys.executable, "-m", "tests.bench.bare_server", str(ready_file)]
    with started(command, ready_file) as server:
        yield server


@contextlib.contextmanager
def full_server(
    home: Path,
    *,
    database: str = "sqlite",
    artifacts: str = "local",
    env: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a Herdbook server with the baselines added until the block ends."""
    ready_file = new_path(home, "ready")
    command = [
        *(sys.executable, "-m", "tests.bench.full_server"),
        *serve_arguments(home, ready_file, database=database, artifacts=artifacts),
    ]
    with started(command, ready_file, env=env) as server:
        yield server


def serve_arguments(
    home: Path, ready_file: Path, *, database: str = "sqlite", artifacts: str = "local"
) -> list[str]:
    """Return the arguments of a server at a free port, whose data lies in `home`."""
    return [
        "serve",
        *("--listen", f"{LOOPBACK}:0"),
        *("--ready-file", str(ready_file)),
        *("--data", str(home / "data")),
        *("--database", database),
        *("--artifacts", artifacts),
    ]


@contextlib.contextmanager
def started(
    command: Sequence[str], ready_file: Path, *, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server that writes its address to `ready_file` once it answers."""
    log = ready_file.with_suffix(".log")
    environment = {**os.environ, **(env or {})}
    with running(command, ready=lambda: has_text(ready_file), log=log, env=environment) as process:
        yield Server(ready_file.read_text().strip(), process.pid)


def has_text(path: Path) -> bool:
    """Tell whether a file is there and has been written."""
    return path.exists() and bool(path.read_text())


def new_path(home: Path, kind: str) -> Path:
    """Return a path in `home` that nothing has yet."""
    return home / f"{kind}-{uuid.uuid4().hex}"


def new_directory(home: Path, kind: str) -> Path:
    """Make an empty directory in `home`."""
    directory = new_path(home, kind)
    directory.mkdir()
    return directory
