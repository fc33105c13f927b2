"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.bench import (
    ceiling,
    deltas,
    fanout,
    go_files,
    importing,
    memory,
    peers,
    predicting,
    registering,
    resolve,
    s3,
    searching,
    starting,
    transfers,
    watching,
    wheel,
)
from tests.bench.measuring import Row
from tests.bench.options import Options


class Benchmark(Protocol):
    """A module that measures something."""

    TITLE: str
    """What is measured, against what."""

    async def run(self, options: Options) -> Sequence[Row]:
        """Measure it."""
        ...


BENCHMARKS: Mapping[str, Benchmark] = {
    "resolve": resolve,
    "transfer": transfers,
    "ceiling": ceiling,
    "delta": deltas,
    "s3": s3,
    "go": go_files,
    "memory": memory,
    "watch": watching,
    "fanout": fanout,
    "predict": predicting,
    "register": registering,
    "search": searching,
    "start": starting,
    "import": importing,
    "wheel": wheel,
    "peers": peers,
}
