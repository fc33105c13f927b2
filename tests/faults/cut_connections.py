"""Pushes and pulls over connections that are cut again and again.

`python -m tests.faults.cut_connections --mib 1024 --cuts 50` shows the bytes that passed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from herdbook import Client
from tests.faults.killed_push import MIB, MODEL, write_random
from tests.support.proxy import Proxy
from tests.support.server import Engines, ServerProcess


@dataclass(frozen=True, slots=True)
class Moved:
    """What a push and a pull moved over connections that were cut."""

    size_bytes: int
    push_cuts: int
    push_bytes: int
    """All that clients sent, what did not arrive included."""
    pull_cuts: int
    pull_bytes: int
    """All that clients were sent."""
    whole: bool
    """Whether what was pulled is what was pushed."""


def push_and_pull(
    server: ServerProcess, home: Path, *, size_bytes: int, cuts: int, seed: int = 7
) -> Moved:
    """Push, then pull, each over connections that are cut where chance says."""
    random = Random(seed)
    files = home / "pushed"
    files.mkdir()
    write_random(files / "weights", size_bytes)

    def offsets() -> list[int]:
        return random.sample(range(size_bytes // 100, size_bytes), cuts)

    with Proxy(server.address, cuts=offsets()) as up, client_of(up) as client:
        client.push(MODEL, files, capture=False)
    with Proxy(server.address, cuts=offsets()) as down, client_of(down) as client:
        client.pull(f"{MODEL}:1", home / "pulled")
        whole = client.verify_copy(f"{MODEL}:1", files).whole
        same = client.verify_copy(f"{MODEL}:1", home / "pulled").whole
    return Moved(
        size_bytes=size_bytes,
        push_cuts=up.cut_count,
        push_bytes=up.sent_bytes,
        pull_cuts=down.cut_count,
        pull_bytes=down.received_bytes,
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
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
        server = stack.enter_context(ServerProcess(engines, home))
        seen = push_and_pull(server, home, size_bytes=given.mib * MIB, cuts=given.cuts)
    for kind, cuts, moved in (
        ("push", seen.push_cuts, seen.push_bytes),
        ("pull", seen.pull_cuts, seen.pull_bytes),
    ):
        ratio = moved / seen.size_bytes
        sys.stdout.write(
            f"{kind}: {cuts} cuts, {moved / MIB:.0f} MiB moved, {ratio:.3f} times the size\n"
        )
    sys.stdout.write(f"whole: {seen.whole}\n")


if __name__ == "__main__":
    main()
