"""How much memory large transfers take, several at once."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from herdbook.v1.artifact_pb2 import DownloadChunksRequest, GetManifestRequest
from herdbook.v1.artifact_pb2_grpc import ArtifactServiceStub
from tests.bench.machine import resident_memory_bytes
from tests.bench.measuring import Comparison, Note, Row
from tests.bench.options import MIB, Options
from tests.bench.servers import Server, full_server, new_directory, new_path
from tests.bench.transfers import Transfer, random_files, run_transfer, s3_store

TITLE = "resident memory at its peak, against a server before and a client that moves one MiB"
CLIENTS = 4
STALLED_CLIENTS = 16
STALL_SECONDS = 5.0
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
MODEL = "m-0"
"""One of those that were pushed."""


async def run(options: Options) -> list[Row]:
    """Measure the local chunk store, and S3 if asked to."""
    amount = CLIENTS * options.transfer_bytes // MIB
    rows: list[Row] = [
        Note(f"{CLIENTS} clients at once, {amount:,} MiB in all; the aim is 200 MiB more, each.")
    ]
    rows += measure("local", options, artifacts="local", env={})
    if options.s3:
        with s3_store() as (artifacts, env):
            rows += measure("s3", options, artifacts=artifacts, env=env)
    return rows


def measure(
    store: str, options: Options, *, artifacts: str, env: Mapping[str, str]
) -> Iterator[Row]:
    """Push by all clients at once, then pull, from a server that was started anew."""
    home = new_directory(options.home, store)
    for kind, transfer in (("push", push), ("pull", pull)):
        with full_server(home, artifacts=artifacts, env=env) as server:
            before = resident_memory_bytes(server.pid)
            transfers = at_once(transfer, home, server, options.transfer_bytes)
            peak = server.peak_memory_bytes
            small = push(home, server, "small", MIB).peak_memory_bytes
            largest = max(each.peak_memory_bytes for each in transfers)
            yield compare(f"{store}: {kind}, server", peak, before, baseline="before")
            yield compare(f"{store}: {kind}, each client", largest, small, baseline="one MiB")
    with full_server(home, artifacts=artifacts, env=env) as server:
        yield stalled(store, server)
    shutil.rmtree(home)


def stalled(store: str, server: Server) -> Row:
    """Have clients ask for all of a version each, and read none of it."""
    before = resident_memory_bytes(server.pid)
    calls: list[grpc.Call] = []
    with contextlib.ExitStack() as stack:
        for _ in range(STALLED_CLIENTS):
            channel = stack.enter_context(grpc.insecure_channel(server.address, OWN_CONNECTION))
            stub = ArtifactServiceStub(channel)
            files = [
                file
                for part in stub.GetManifest(GetManifestRequest(reference=f"{MODEL}:1"))
                for file in part.files
            ]
            digests = {chunk.sha256 for file in files for chunk in file.chunks}
            request = DownloadChunksRequest(model=MODEL, version=1, sha256=digests)
            calls.append(stub.DownloadChunks(request))
            stack.callback(calls[-1].cancel)
        time.sleep(STALL_SECONDS)
        assert all(call.is_active() for call in calls), "a download ended that nobody reads"
        peak = server.peak_memory_bytes
    name = f"{store}: {STALLED_CLIENTS} clients that read nothing, server"
    return compare(name, peak, before, baseline="before")


def compare(name: str, peak_bytes: int, before_bytes: int, *, baseline: str) -> Row:
    """Compare the most memory that was taken with what is taken for nothing much."""
    return Comparison(
        name,
        "MiB",
        subject=(peak_bytes / MIB,),
        baseline=(before_bytes / MIB,),
        baseline_name=baseline,
        better="lower",
    )


def at_once(
    transfer: Callable[[Path, Server, str, int], Transfer],
    home: Path,
    server: Server,
    size_bytes: int,
) -> list[Transfer]:
    """Run a transfer by each client, all at once."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        running = [
            threads.submit(transfer, home, server, f"m-{number}", size_bytes)
            for number in range(CLIENTS)
        ]
        return [each.result() for each in running]


def push(home: Path, server: Server, model: str, size_bytes: int) -> Transfer:
    """Push bytes that never were before."""
    with random_files(home, size_bytes) as directory:
        return run_transfer("push", server.address, model, directory, cache=new_path(home, "cache"))


def pull(home: Path, server: Server, model: str, size_bytes: int) -> Transfer:
    """Pull what was pushed, and keep its chunks."""
    with contextlib.ExitStack() as stack:
        pulled, cache = new_path(home, "pulled"), new_path(home, "cache")
        for path in (pulled, cache):
            stack.callback(shutil.rmtree, path, ignore_errors=True)
        return run_transfer("pull_and_cache", server.address, model, pulled, cache=cache)
