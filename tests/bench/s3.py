"""How fast artifacts come to and from S3 through the server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.measuring import Fact, Row, Turns, go_round
from tests.bench.options import MIB, Options
from tests.bench.servers import full_server, new_path
from tests.bench.transfers import BUCKET, MEGABYTE, MODEL, random_files, run_transfer
from tests.support.s3 import remove_bucket, running_s3

TITLE = "random bytes to and from S3, against boto3's managed transfer, which verifies no digest"
AIM = 0.7


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
    """Push through a server and without one, in turns; then pull so."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(running_s3())
        client = endpoint.client()
        for bucket in (BUCKET, f"{BUCKET}-boto"):
            client.create_bucket(Bucket=bucket)
            stack.callback(remove_bucket, client, bucket)
        env = endpoint.environment()
        server = stack.enter_context(
            full_server(options.home, artifacts=f"s3://{BUCKET}/chunks", env=env)
        )
        boto = Way("boto_", (endpoint.endpoint_url, f"{BUCKET}-boto"), env, options)
        ours = Way("", (server.address, MODEL), env, options)
        rows: list[Row] = []
        for kind, turn in (("push", push), ("pull", pull)):
            turns = [partial(turn, boto), partial(turn, ours)]
            baseline, subject = go_round(turns, rounds=options.transfer_rounds)
            rows.append(
                Turns(subject, baseline).compare(
                    kind, baseline="boto3", unit="MB/s", better="higher", aim=AIM
                )
            )
        return [*rows, Fact("peak memory, server", server.peak_memory_bytes / MIB, "MiB")]


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
