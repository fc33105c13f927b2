"""A registry that is killed under load and comes back, and starts while it is away.

`python -m tests.faults.registry_outage --seconds 60` shows what predictions notice of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from herdbook import Client, LiveModel
from tests.support.repeating import again_and_again
from tests.support.server import Engines, ServerProcess
from tests.support.waiting import wait_until

MODEL = "fraud/tc"
REFERENCE = f"{MODEL}@champion"
THREADS = 4
PAUSE_SECONDS = 0.0005
TEXTS = ("one", "two")

COLD_START = """
import sys, time
began = time.monotonic()
from pathlib import Path
from herdbook import LiveModel
with LiveModel(sys.argv[1], loader=lambda path: (path / "model.txt").read_text(),
               server=sys.argv[2], cache_dir=sys.argv[3]) as live:
    answer = live.current
    print(answer, time.monotonic() - began, live.status().connected)
"""


@dataclass(slots=True)
class Seen:
    """What was seen of an outage."""

    predictions: int = 0
    failures: int = 0
    noticed: bool = False
    """Whether the status told of the outage while it lasted."""
    recovered_seconds: float = 0.0
    """From the restart, when the alias was moved, to the first prediction by the new version."""
    cold_start_seconds: float = 0.0
    """From the first import to a model that serves, with the registry down."""
    warm_start_seconds: float = 0.0
    """The same with the registry up."""


def outage(home: Path, *, seconds: float) -> Seen:
    """Kill the registry under load, start it again after a while, and move the alias at once."""
    seen = Seen()
    engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
    with ServerProcess(engines, home) as server, Client(server.address, cache=False) as client:
        for text in TEXTS:
            push(client, home, text)
        client.set_alias(MODEL, "champion", 1)
        with (
            LiveModel(
                REFERENCE,
                loader=lambda path: (path / "model.txt").read_text(),
                server=server.address,
                cache_dir=home / "cache",
            ) as live,
            predicting(live, seen),
        ):
            server.kill()
            time.sleep(seconds)
            seen.noticed = not live.status().connected
            server.start()
            began = time.monotonic()
            client.set_alias(MODEL, "champion", 2)
            wait_until(lambda: live.current == "two", "the move arrives", deadline_seconds=120)
            seen.recovered_seconds = time.monotonic() - began
        seen.warm_start_seconds = start(server, home)
        server.kill()
        seen.cold_start_seconds = start(server, home)
    return seen


def push(client: Client, home: Path, text: str) -> None:
    """Push a version that is a text."""
    directory = home / text
    directory.mkdir()
    (directory / "model.txt").write_text(text)
    client.push(MODEL, directory, capture=False)


def start(server: ServerProcess, home: Path) -> float:
    """Start a live model in a process of its own; return the seconds to its first answer."""
    command = [sys.executable, "-c", COLD_START, REFERENCE, server.address, str(home / "cache")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    answer, seconds, _ = said.split()
    assert answer == "two"
    return float(seconds)


@contextmanager
def predicting(live: LiveModel[str], seen: Seen) -> Iterator[None]:
    """Predict with several threads until the block ends."""
    lock = threading.Lock()

    def predict() -> None:
        time.sleep(PAUSE_SECONDS)
        try:
            with live.lease() as model:
                sound = model in TEXTS and live.current in TEXTS
        except Exception:  # noqa: BLE001 - each counts
            sound = False
        with lock:
            seen.predictions += 1
            seen.failures += not sound

    with again_and_again(predict, threads=THREADS):
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    """Tell what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args(arguments).seconds
    with tempfile.TemporaryDirectory() as directory:
        seen = outage(Path(directory), seconds=seconds)
    sys.stdout.write(
        f"registry killed for {seconds:g} s: {seen.predictions} predictions,"
        f" {seen.failures} failed; status told of it: {seen.noticed};"
        f" a move asked for at the restart arrived after {seen.recovered_seconds:.1f} s\n"
        f"first prediction of a new process: {seen.cold_start_seconds:.2f} s with the registry"
        f" down, {seen.warm_start_seconds:.2f} s with it up\n"
    )


if __name__ == "__main__":
    main()
