"""A process that watches one reference: `python -m tests.bench.watcher ADDRESS REFERENCE`.

Prints for each state the version and the time, in nanoseconds of the clock all processes share.
"""

from __future__ import annotations

import sys
import time

from herdbook import Client


def watch(address: str, reference: str) -> None:
    """Print states until the process is ended."""
    with Client(address) as client:
        for state in client.watch([reference]):
            told_ns = time.monotonic_ns()
            version = state.resolution.version if state.resolution else 0
            print(version, told_ns, flush=True)


if __name__ == "__main__":
    watch(sys.argv[1], sys.argv[2])
