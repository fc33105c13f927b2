"""Pushes and pulls over connections that are cut, frozen, far away or slow.

`python -m tests.faults.cut_connections --mib 1024 --cuts 50` shows the bytes that passed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from herdbook import Client
from tests.faults.killed_push import MIB, MODEL, write_random
from tests.support.proxy import Proxy
from tests.support.server import Engines, ServerProcess


@dataclass(frozen=True, slots=True)
class Line:
    """What is wrong with connections."""

    cuts: int = 0
    freezes: int = 0
    """Connections notice them after 40 seconds at most."""
    delay_seconds: float = 0.0
    bytes_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """What went over a line."""

    cuts: int
    freezes: int
    moved_bytes: int
    """Of the transfer's direction, what did not arrive included."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Moved:
    """What a push and a pull moved."""

    size_bytes: int
    push: Passed
    pull: Passed
    whole: bool
    """Whether what was pulled is what was pushed."""


def push_and_pull(
    server: ServerProcess, home: Path, line: Line, *, size_bytes: int, seed: int = 7
) -> Moved:
    """Push, then pull, each over such connections, that break or freeze where chance says."""
    random = Random(seed)
    files = home / "pushed"
    files.mkdir()
    write_random(files / "weights", size_bytes)

    def proxy() -> Proxy:
        offsets = range(size_bytes // 100, size_bytes)
        return Proxy(
            server.address,
            cuts=random.sample(offsets, line.cuts),
            freezes=random.sample(offsets, line.freezes),
            delay_seconds=line.delay_seconds,
            bytes_per_second=line.bytes_per_second,
        )

    begun = time.monotonic()
    with proxy() as up, client_of(up) as client:
        client.push(MODEL, files, capture=False)
    pushed = time.monotonic()
    with proxy() as down, client_of(down) as client:
        client.pull(f"{MODEL}:1", home / "pulled")
    pulled = time.monotonic()
    with Client(server.address, cache=False) as client:
        whole = client.verify_copy(f"{MODEL}:1", files).whole
        same = client.verify_copy(f"{MODEL}:1", home / "pulled").whole
    return Moved(
        size_bytes=size_bytes,
        push=Passed(up.cut_count, up.freeze_count, up.sent_bytes, pushed - begun),
        pull=Passed(down.cut_count, down.freeze_count, down.received_bytes, pulled - pushed),
        whole=whole and same,
    )


def client_of(proxy: Proxy) -> Client:
    """Make a client behind a proxy, without a cache."""
    return Client(proxy.address, cache=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Cut connections, and tell what moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--freezes", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="in each direction")
    parser.add_argument("--mbit", type=float, default=0.0, help="a second; 0: as fast as it goes")
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
        server = stack.enter_context(ServerProcess(engines, home))
        line = Line(
            given.cuts,
            given.freezes,
            given.delay_ms / 1000,
            given.mbit * 125_000 if given.mbit else None,
        )
        seen = push_and_pull(server, home, line, size_bytes=given.mib * MIB)
    for kind, passed in (("push", seen.push), ("pull", seen.pull)):
        ratio = passed.moved_bytes / seen.size_bytes
        sys.stdout.write(
            f"{kind}: {passed.cuts} cuts, {passed.freezes} freezes, "
            f"{passed.moved_bytes / MIB:.0f} MiB moved, {ratio:.3f} times the size, "
            f"{passed.seconds:.1f} s\n"
        )
    sys.stdout.write(f"whole: {seen.whole}\n")


if __name__ == "__main__":
    main()
