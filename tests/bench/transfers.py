"""How fast artifacts are pushed and pulled."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.baselines import MESSAGE_BYTES
from tests.bench.measuring import Fact, Row, Turns, go_round
from tests.bench.options import MIB, Options
from tests.bench.servers import Server, bare_server, full_server, new_directory, new_path
from tests.support.s3 import remove_bucket, running_s3

TITLE = "random bytes, against a bare gRPC stream that drops them, and against synced writes alone"
MODEL = "herd/heavy"
BUCKET = "herdbook-bench"
SMALL_FILES = 8
DISK_THREADS = 8
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one transfer took."""

    seconds: float
    processor_seconds: float
    peak_memory_bytes: int
    moved_bytes: int


@dataclass(slots=True)
class Meter:
    """Transfers in processes of their own, and the most memory that any kind of them took."""

    size_bytes: int
    home: Path
    peaks: dict[str, int] = field(default_factory=dict)

    def megabytes_per_second(self, kind: str, *arguments: object) -> float:
        """Run one transfer of all the bytes."""
        return self.size_bytes / self.seconds(kind, *arguments) / MEGABYTE

    def seconds(self, kind: str, *arguments: object) -> float:
        """Run one transfer with an empty cache."""
        transfer = run_transfer(kind, *arguments, cache=new_path(self.home, "cache"))
        self.peaks[kind] = max(transfer.peak_memory_bytes, self.peaks.get(kind, 0))
        return transfer.seconds

    def disk_megabytes_per_second(self) -> float:
        """Write files of one message's size and sync each, a few at once, as any store must."""
        data = os.urandom(MESSAGE_BYTES)
        directory = new_directory(self.home, "synced")
        os.sync()
        began = time.perf_counter()
        with ThreadPoolExecutor(DISK_THREADS) as threads:
            paths = [directory / str(n) for n in range(self.size_bytes // MESSAGE_BYTES)]
            list(threads.map(lambda path: write_synced(path, data), paths))
        seconds = time.perf_counter() - began
        shutil.rmtree(directory)
        return len(paths) * MESSAGE_BYTES / seconds / MEGABYTE


def run_transfer(
    kind: str, *arguments: object, cache: Path, env: Mapping[str, str] | None = None
) -> Transfer:
    """Run one transfer in a process of its own, from a disk that has nothing left to write."""
    os.sync()
    command = [sys.executable, "-m", "tests.bench.transferring", kind, *map(str, arguments)]
    environment = {**os.environ, **(env or {}), "HERDBOOK_CACHE_DIR": str(cache)}
    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return Transfer(**json.loads(answer))


async def run(options: Options) -> list[Row]:
    """Measure the local chunk store, and S3 if asked to."""
    rows = [*compare("local", options, artifacts="local", env={})]
    if options.s3:
        with s3_store() as (artifacts, env):
            rows += compare("s3", options, artifacts=artifacts, env=env)
    return rows


def compare(
    store: str, options: Options, *, artifacts: str, env: Mapping[str, str]
) -> Iterator[Row]:
    """Push, then pull what was pushed last, without and with a cache."""
    home = new_directory(options.home, store)
    with bare_server(home) as bare, full_server(home, artifacts=artifacts, env=env) as server:
        meter = Meter(options.transfer_bytes, home)
        for kind, stream, transfer in (
            ("push", "send", pusher(meter, server)),
            ("pull", "receive", puller(meter, server, "pull")),
            ("pull_and_cache", "receive", puller(meter, server, "pull_and_cache")),
        ):
            streams, disks, transfers = go_round(
                [streamer(meter, bare, stream), meter.disk_megabytes_per_second, transfer],
                rounds=options.transfer_rounds,
            )
            name = f"{store}: {kind.replace('_', ' ')}"
            yield throughput(Turns(transfers, streams), name, baseline="bare stream")
            yield throughput(Turns(transfers, disks), name, baseline="disk alone")
        yield from memory(store, meter, server, bare)


def throughput(turns: Turns[float], name: str, *, baseline: str) -> Row:
    """Name what was measured."""
    return turns.compare(name, baseline=baseline, unit="MB/s", better="higher")


def streamer(meter: Meter, bare: Server, kind: str) -> Callable[[], float]:
    """Return what streams as many bytes and drops them."""
    return lambda: meter.megabytes_per_second(kind, bare.address, meter.size_bytes)


def pusher(meter: Meter, server: Server) -> Callable[[], float]:
    """Return what pushes bytes that never were before."""

    def push() -> float:
        with random_files(meter.home, meter.size_bytes) as directory:
            return meter.megabytes_per_second("push", server.address, MODEL, directory)

    return push


def puller(meter: Meter, server: Server, kind: str) -> Callable[[], float]:
    """Return what pulls the newest version to where nothing is."""

    def pull() -> float:
        destination = new_path(meter.home, "pulled")
        try:
            return meter.megabytes_per_second(kind, server.address, MODEL, destination)
        finally:
            shutil.rmtree(destination, ignore_errors=True)

    return pull


def memory(store: str, meter: Meter, server: Server, bare: Server) -> Iterator[Row]:
    """Tell the peaks of all processes."""
    for kind, peak in meter.peaks.items():
        yield Fact(f"{store}: peak memory, client, {kind.replace('_', ' ')}", peak / MIB, "MiB")
    yield Fact(f"{store}: peak memory, server", server.peak_memory_bytes / MIB, "MiB")
    yield Fact(f"{store}: peak memory, bare server", bare.peak_memory_bytes / MIB, "MiB")


@contextlib.contextmanager
def random_files(home: Path, size_bytes: int) -> Iterator[Path]:
    """Make a directory with half of the bytes in one file, and half in several."""
    directory = new_directory(home, "files")
    large = size_bytes // 2
    small, rest = divmod(size_bytes - large, SMALL_FILES)
    write_random(directory / "large.bin", large + rest)
    for number in range(SMALL_FILES):
        write_random(directory / f"part-{number}.bin", small)
    yield directory
    shutil.rmtree(directory)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())


def write_random(path: Path, size_bytes: int) -> None:
    """Write a file that nothing compresses and nobody has."""
    with path.open("wb") as file:
        for remaining in range(size_bytes, 0, -MIB):
            file.write(os.urandom(min(MIB, remaining)))


@contextlib.contextmanager
def s3_store() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Run an S3 server with an empty bucket; give a server's `--artifacts` and environment."""
    with running_s3() as endpoint:
        endpoint.client().create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}/chunks", endpoint.environment()
        remove_bucket(endpoint.client(), BUCKET)
