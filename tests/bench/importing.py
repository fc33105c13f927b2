"""How long it takes to import the client, in a new process each time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from tests.bench.measuring import Comparison, Row, take_turns
from tests.bench.options import Options

TITLE = "time of a process that imports the client and ends"


async def run(options: Options) -> list[Row]:
    """Measure the package, its `Client`, and its `LiveModel`."""
    return [*compare_imports(sys.executable, options)]


def compare_imports(python: str, options: Options) -> list[Comparison]:
    """Set imports of ours beside those of gRPC and of nothing, with the given interpreter."""
    return [
        take_turns(
            baseline=runner(python, baseline),
            subject=runner(python, subject),
            rounds=options.rounds,
        ).compare(subject, baseline=baseline, unit="ms", better="lower")
        for subject in (
            "import herdbook",
            "from herdbook import Client",
            "from herdbook import LiveModel",
        )
        for baseline in ("import grpc", "pass")
    ]


def runner(python: str, code: str) -> Callable[[], float]:
    """Return what runs code in a new process and gives the milliseconds that took."""

    def run_code() -> float:
        began = time.perf_counter()
        subprocess.run([python, "-c", code], check=True)
        return 1000 * (time.perf_counter() - began)

    return run_code
