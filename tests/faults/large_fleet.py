"""Hundreds of replicas over two servers: what convergence says, while servers and replicas die.

`python -m tests.faults.large_fleet --replicas 300` moves the alias of a fleet of which 5 % fail.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from herdbook import Client, Convergence
from tests.faults.fleet_members import REFERENCE
from tests.support.postgres import fresh_database, running_postgres
from tests.support.processes import in_background
from tests.support.server import Engines, ServerProcess
from tests.support.waiting import wait_until

MODEL = REFERENCE.partition("@")[0]
FAILING_SHARE = 0.05
PROCESSES = 2
STEADY_SECONDS = 35.0
"""Longer than the lease of a replica whose server has died."""

GONE_WITHIN_SECONDS = 60.0


@dataclass(slots=True)
class Seen:
    """What was said of the fleet."""

    waited_seconds: float = 0.0
    exit_code: int = -1
    answers: list[Convergence] = field(default_factory=list)
    """Of each server, once the command has ended."""
    reasons: int = 0
    """How many different failures are listed."""
    steady: set[tuple[int, int, int]] = field(default_factory=set)
    """Replicas, converged and failed, for a while after a server was killed."""
    gone_seconds: float = 0.0
    """From the death of half of the replicas until they are counted no more."""


def observe(home: Path, server_dsn: str, *, replicas: int, steady_seconds: float) -> Seen:
    """Move the alias, kill a server, kill half of the replicas."""
    seen = Seen()
    failing = round(FAILING_SHARE * replicas)
    with ExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn))
        settings = {"data": str(home / "data"), "database": dsn}
        engines = Engines("postgres+local", settings, {})
        servers = [stack.enter_context(ServerProcess(engines, home)) for _ in range(2)]
        clients = [stack.enter_context(Client(each.address, cache=False)) for each in servers]
        for number in (1, 2):
            clients[0].register_reference(MODEL, f"s3://elsewhere/{number}")
        clients[0].set_alias(MODEL, "champion", 1)
        members = [
            stack.enter_context(started(home, order, replicas // PROCESSES, fail))
            for order, fail in (
                (servers, failing // PROCESSES),
                (servers[::-1], failing - failing // PROCESSES),
            )
        ]
        wait_until(
            lambda: clients[1].get_convergence(REFERENCE).converged_count == replicas, "all serve"
        )
        clients[0].set_alias(MODEL, "champion", 2)
        began = time.monotonic()
        seen.exit_code, _ = await_convergence(servers[1])
        seen.waited_seconds = time.monotonic() - began
        settled = replicas - failing
        wait_until(
            lambda: all(c.get_convergence(REFERENCE).converged_count == settled for c in clients),
            "the last ones have said so",
        )
        seen.answers = [client.get_convergence(REFERENCE) for client in clients]
        listed = clients[1].list_replicas(REFERENCE)
        seen.reasons = len({report.failure for report in listed if report.failure})
        servers[0].kill()
        give_up_at = time.monotonic() + steady_seconds
        while time.monotonic() < give_up_at:
            said = clients[1].get_convergence(REFERENCE)
            seen.steady.add((said.replica_count, said.converged_count, said.failed_count))
            time.sleep(0.5)
        members[0].kill()
        began = time.monotonic()
        wait_until(
            lambda: clients[1].get_convergence(REFERENCE).replica_count == replicas // PROCESSES,
            "those that were killed are gone",
            deadline_seconds=GONE_WITHIN_SECONDS,
        )
        seen.gone_seconds = time.monotonic() - began
    return seen


def await_convergence(server: ServerProcess) -> tuple[int, Any]:
    """Wait as a pipeline does; return the exit code and what the command says."""
    command = [sys.executable, "-m", "herdbook.cli", "convergence", REFERENCE, "--wait", "--json"]
    command += ["--min-ready", "95%", "--timeout", "2m", "--server", server.address]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    return ended.returncode, json.loads(ended.stdout)


def started(
    home: Path, servers: Sequence[ServerProcess], count: int, failing: int
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run replicas, which prefer the first server, until the block ends."""
    target = "ipv4:" + ",".join(server.address for server in servers)
    command = [sys.executable, "-m", "tests.faults.fleet_members", target, str(count), str(failing)]
    return in_background(command, log=home / "members.log")


def main(arguments: Sequence[str] | None = None) -> None:
    """Tell what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=300)
    replicas = parser.parse_args(arguments).replicas
    with tempfile.TemporaryDirectory() as directory, running_postgres() as server_dsn:
        seen = observe(
            Path(directory), server_dsn, replicas=replicas, steady_seconds=STEADY_SECONDS
        )
    counts = [(a.replica_count, a.converged_count, a.failed_count) for a in seen.answers]
    sys.stdout.write(
        f"convergence --wait: exit code {seen.exit_code} after {seen.waited_seconds:.1f} s;"
        f" replicas, converged, failed by each server: {counts}; {seen.reasons} reasons\n"
        f"for {STEADY_SECONDS:g} s after a server was killed: {sorted(seen.steady)}\n"
        f"half of the replicas killed: gone after {seen.gone_seconds:.1f} s\n"
    )


if __name__ == "__main__":
    main()
