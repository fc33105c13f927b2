"""How fast a Go program moves a file by WriteFile and ReadFile, through the stock Go stubs."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

from tests.bench.measuring import Note, Row, Turns, go_round
from tests.bench.options import Options
from tests.bench.servers import Server, bare_server, full_server
from tests.bench.transfers import MEGABYTE, MODEL, run_transfer, write_random

TITLE = "a file of random bytes by a Go program, against a bare gRPC stream that drops them"
PROGRAM = Path(__file__).parents[1] / "interop" / "build" / "interop-go"


async def run(options: Options) -> list[Row]:
    """Write new files, then read the last of them."""
    if not PROGRAM.exists():
        return [Note("There is no Go program yet: `make interop` builds it.")]
    rows: list[Row] = []
    with bare_server(options.home) as bare, full_server(options.home) as server:
        measures = {
            "WriteFile": (write, partial(stream, options, bare, "send")),
            "ReadFile": (read, partial(stream, options, bare, "receive")),
        }
        for name, (measure, baseline) in measures.items():
            turns = [partial(measure, options, server), baseline]
            figures, baselines = go_round(turns, rounds=options.transfer_rounds)
            rows.append(
                Turns(figures, baselines).compare(
                    name, baseline="bare stream", unit="MB/s", better="higher"
                )
            )
    return rows


def write(options: Options, server: Server) -> float:
    """Write bytes that never were before, as a version of their own."""
    path = options.home / "weights"
    write_random(path, options.transfer_bytes)
    try:
        return megabytes_per_second(options, server, "write", MODEL, path)
    finally:
        path.unlink()


def read(options: Options, server: Server) -> float:
    """Read what was written first."""
    path = options.home / "weights"
    try:
        return megabytes_per_second(options, server, "read", MODEL, 1, path)
    finally:
        path.unlink()


def megabytes_per_second(options: Options, server: Server, *arguments: object) -> float:
    """Run the program."""
    os.sync()
    env = {**os.environ, "HERDBOOK_SERVER": server.address}
    command = [PROGRAM, *map(str, arguments)]
    # The last line of what it says.
    said = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout.splitlines()
    return options.transfer_bytes / float(json.loads(said[-1])["seconds"]) / MEGABYTE


def stream(options: Options, bare: Server, kind: str) -> float:
    """Stream as many bytes, and drop them."""
    transfer = run_transfer(kind, bare.address, options.transfer_bytes, cache=options.home)
    return options.transfer_bytes / transfer.seconds / MEGABYTE
