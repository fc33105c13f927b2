"""How fast artifacts come to and from S3, through the server and past it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.measuring import Fact, Row, Turns, go_round
from tests.bench.options import MIB, Options
from tests.bench.servers import Server, full_server, new_directory, new_path
from tests.bench.transfers import BUCKET, MEGABYTE, MODEL, random_files, run_transfer
from tests.support.s3 import S3Endpoint, remove_bucket, running_s3

TITLE = "random bytes to and from S3, against boto3's managed transfer, which verifies no digest"
THROUGH_AIM = 0.7
DIRECT_AIM = 1.0


@dataclass(frozen=True, slots=True)
class Way:
    """How bytes come to S3 and back: by processes of their own."""

    prefix: str
    """What its kinds of transfers begin with."""
    target: tuple[str, ...]
    """Their first arguments."""
    env: Mapping[str, str]
    options: Options

    def megabytes_per_second(self, kind: str, directory: Path) -> float:
        """Run one transfer of all the bytes."""
        cache = new_path(self.options.home, "cache")
        transfer = run_transfer(
            self.prefix + kind, *self.target, directory, cache=cache, env=self.env
        )
        return self.options.transfer_bytes / transfer.seconds / MEGABYTE


async def run(options: Options) -> list[Row]:
    """Push through a server, past it and without one, in turns; then pull so."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(running_s3())
        client = endpoint.client()
        for bucket in (BUCKET, f"{BUCKET}-boto"):
            client.create_bucket(Bucket=bucket)
            stack.callback(remove_bucket, client, bucket)
        servers = {
            name: stack.enter_context(s3_server(options, name, endpoint))
            for name in ("through", "direct")
        }
        env = endpoint.environment()
        ways = [
            Way("boto_", (endpoint.endpoint_url, f"{BUCKET}-boto"), env, options),
            *(Way("", (server.address, MODEL), env, options) for server in servers.values()),
        ]
        rows: list[Row] = []
        for kind, turn in (("push", push), ("pull", pull)):
            turns = [partial(turn, way) for way in ways]
            boto, through, direct = go_round(turns, rounds=options.transfer_rounds)
            for name, figures, aim in (
                ("through the server", through, THROUGH_AIM),
                ("past it", direct, DIRECT_AIM),
            ):
                rows.append(
                    Turns(figures, boto).compare(
                        f"{kind} {name}", baseline="boto3", unit="MB/s", better="higher", aim=aim
                    )
                )
        for name, server in servers.items():
            rows.append(Fact(f"peak memory, server, {name}", server.peak_memory_bytes / MIB, "MiB"))
        return rows


def s3_server(options: Options, name: str, endpoint: S3Endpoint) -> AbstractContextManager[Server]:
    """Run a server whose chunks lie in the bucket, below a prefix of its own."""
    env = {**endpoint.environment(), "HERDBOOK_DIRECT": str(name == "direct").lower()}
    home = new_directory(options.home, name)
    return full_server(home, artifacts=f"s3://{BUCKET}/{name}", env=env)


def push(way: Way) -> float:
    """Push bytes that never were before."""
    with random_files(way.options.home, way.options.transfer_bytes) as directory:
        return way.megabytes_per_second("push", directory)


def pull(way: Way) -> float:
    """Pull what was pushed last to where nothing is."""
    destination = new_path(way.options.home, "pulled")
    try:
        return way.megabytes_per_second("pull", destination)
    finally:
        shutil.rmtree(destination, ignore_errors=True)
