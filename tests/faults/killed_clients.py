"""Pushes and pulls whose client is killed again and again, and run to the end at last.

`python -m tests.faults.killed_clients --mib 1024 --kills 10` shows the bytes that passed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from herdbook import Client
from tests.faults.killed_push import MIB, MODEL, write_random
from tests.support.proxy import Proxy
from tests.support.server import Engines, ServerProcess

CLIENT = """
import sys
from herdbook import Client

with Client(sys.argv[1]) as client:
    if sys.argv[2] == "push":
        client.push(sys.argv[3], sys.argv[4], capture=False)
    else:
        client.pull(sys.argv[3], sys.argv[4])
"""
POLL_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Killed:
    """What a push and a pull moved whose clients were killed."""

    size_bytes: int
    push_bytes: int
    pull_bytes: int
    whole: bool
    """Whether what was pulled is what was pushed."""


def push_and_pull(
    server: ServerProcess, home: Path, *, size_bytes: int, kills: int, seed: int = 7
) -> Killed:
    """Push, then pull with a cache, each killed where chance says."""
    random = Random(seed)
    pushed, pulled = home / "pushed", home / "pulled"
    pushed.mkdir()
    write_random(pushed / "weights", size_bytes)

    def offsets() -> list[int]:
        return sorted(random.sample(range(size_bytes // 100, size_bytes * 99 // 100), kills))

    with Proxy(server.address) as proxy:
        client = Killable(proxy.address, home / "cache")
        client.run("push", MODEL, pushed, offsets=offsets(), passed=lambda: proxy.sent_bytes)
        sent_bytes, before_bytes = proxy.sent_bytes, proxy.received_bytes

        def received() -> int:
            return proxy.received_bytes - before_bytes

        client.run("pull", f"{MODEL}:1", pulled, offsets=offsets(), passed=received)
        received_bytes = received()
    with Client(server.address, cache=False) as client:
        whole = all(client.verify_copy(f"{MODEL}:1", each).whole for each in (pushed, pulled))
        assert [version.number for version in client.list_versions(MODEL)] == [1]
    return Killed(size_bytes, sent_bytes, received_bytes, whole)


@dataclass(frozen=True, slots=True)
class Killable:
    """A client in a process of its own."""

    server: str
    cache: Path

    def run(self, *arguments: object, offsets: Sequence[int], passed: Callable[[], int]) -> None:
        """Run it, kill it each time that many bytes have passed, and let the last one end."""
        command = [sys.executable, "-c", CLIENT, self.server, *map(str, arguments)]
        env = {**os.environ, "HERDBOOK_CACHE_DIR": str(self.cache)}
        for offset in offsets:
            with subprocess.Popen(command, env=env) as process:
                while passed() < offset:
                    assert process.poll() is None, "the client ended before it was killed"
                    time.sleep(POLL_SECONDS)
                process.kill()
        subprocess.run(command, env=env, check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill clients, and tell what moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--kills", type=int, default=10)
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
        server = stack.enter_context(ServerProcess(engines, home))
        seen = push_and_pull(server, home, size_bytes=given.mib * MIB, kills=given.kills)
    for kind, moved in (("push", seen.push_bytes), ("pull", seen.pull_bytes)):
        sys.stdout.write(
            f"{kind}: {given.kills} kills, {moved / MIB:.0f} MiB moved, "
            f"{moved / seen.size_bytes:.3f} times the size\n"
        )
    sys.stdout.write(f"whole: {seen.whole}\n")


if __name__ == "__main__":
    main()
