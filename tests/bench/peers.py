"""How fast artifacts are pushed and pulled, against MLflow's artifact proxy."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from tests.bench.measuring import Fact, Note, Row, Turns, go_round
from tests.bench.mlflow_proxy import Proxy, running_proxy
from tests.bench.options import Options
from tests.bench.servers import Server, full_server, new_directory, new_path
from tests.bench.transfers import MEGABYTE, Meter, random_files, write_random

TITLE = "pushes and pulls, verified and durable, against MLflow's proxy, which is neither"
SMALL_FILES = 1000
MANY_FILES = 10_000
SMALL_BYTES = 4096

Files = Callable[[], contextlib.AbstractContextManager[Path]]
"""Makes a directory of bytes that nobody has."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is pushed and pulled."""

    name: str
    files: Files
    amount: float
    """What there is of it, in `unit`."""
    unit: str


class Registry(Protocol):
    """What directories are pushed to, and pulled from."""

    def push(self, directory: Path) -> float:
        """Push as something new; return the seconds that took."""
        ...

    def pull(self, directory: Path) -> float:
        """Pull what was pushed last; return the seconds that took."""
        ...


async def run(options: Options) -> list[Row]:
    """Move random bytes in large files, and in small ones."""
    home = options.home
    large = Load(
        "large files",
        partial(random_files, home, options.transfer_bytes),
        options.transfer_bytes / MEGABYTE,
        "MB",
    )
    few, many = (many_files(home, count) for count in (SMALL_FILES, MANY_FILES))
    with running_proxy(new_directory(home, "mlflow")) as proxy, full_server(home) as server:
        ours, theirs = Herdbook(home, server), Mlflow(proxy)
        return [
            Note(f"The proxy is MLflow {proxy.version}, with its defaults."),
            *compare(large, ours, theirs, options=options),
            *compare(few, ours, theirs, options=options),
            Fact(f"{many.name}: push", push(ours, many), f"{many.unit}/s"),
            Fact(f"{many.name}: pull", pull(ours, many, home), f"{many.unit}/s"),
        ]


def compare(load: Load, ours: Registry, theirs: Registry, *, options: Options) -> Iterator[Row]:
    """Push to both in turns, new bytes every time, then pull from both in turns."""
    measures = {
        "push": partial(push, load=load),
        "pull": partial(pull, load=load, home=options.home),
    }
    for kind, measure in measures.items():
        turn = [partial(measure, theirs), partial(measure, ours)]
        baseline, subject = go_round(turn, rounds=options.transfer_rounds)
        yield Turns(subject, baseline).compare(
            f"{load.name}: {kind}", baseline="MLflow", unit=f"{load.unit}/s", better="higher"
        )


def push(registry: Registry, load: Load) -> float:
    """Push new files; return how much of them a second."""
    with load.files() as directory:
        return load.amount / registry.push(directory)


def pull(registry: Registry, load: Load, home: Path) -> float:
    """Pull to where nothing is; return how much a second."""
    destination = new_path(home, "pulled")
    try:
        return load.amount / registry.pull(destination)
    finally:
        shutil.rmtree(destination, ignore_errors=True)


class Herdbook:
    """Each push makes a model of its own."""

    def __init__(self, home: Path, server: Server) -> None:
        self._meter = Meter(0, home)
        self._server = server
        self._pushes = 0

    def push(self, directory: Path) -> float:
        """See `Registry`."""
        self._pushes += 1
        return self._seconds("push", directory)

    def pull(self, directory: Path) -> float:
        """See `Registry`."""
        return self._seconds("pull", directory)

    def _seconds(self, kind: str, directory: Path) -> float:
        return self._meter.seconds(kind, self._server.address, f"m-{self._pushes}", directory)


class Mlflow:
    """Each push belongs to a run of its own."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._run = ""

    def push(self, directory: Path) -> float:
        """See `Registry`."""
        self._run = self._proxy.make_run()
        return self._proxy.seconds("push", self._run, directory)

    def pull(self, directory: Path) -> float:
        """See `Registry`."""
        return self._proxy.seconds("pull", self._run, directory)


def many_files(home: Path, count: int) -> Load:
    """Name a number of small files."""
    return Load(f"{count:,} files of 4 KiB", partial(small_files, home, count), count, "files")


@contextlib.contextmanager
def small_files(home: Path, count: int) -> Iterator[Path]:
    """Make a directory of many files of random bytes."""
    directory = new_directory(home, "small")
    for number in range(count):
        write_random(directory / f"part-{number}.bin", SMALL_BYTES)
    yield directory
    shutil.rmtree(directory)
