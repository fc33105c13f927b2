"""How near transfers come to what this machine can do, by the time that its processors take."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from tests.bench.baselines import MESSAGE_BYTES
from tests.bench.measuring import Comparison, Fact, Note, Row, go_round
from tests.bench.options import Options
from tests.bench.servers import Server, bare_server, full_server, new_directory, new_path
from tests.bench.transfers import (
    DISK_THREADS,
    MEGABYTE,
    MODEL,
    Transfer,
    random_files,
    run_transfer,
    write_synced,
)

TITLE = "processor time of a transfer, against that of the parts which none avoids that verifies"

CORES = len(os.sched_getaffinity(0))

Times = tuple[float, float]
"""Seconds that passed, and that processors took."""


async def run(options: Options) -> list[Row]:
    """Measure the parts and the wholes in turns, over the local chunk store."""
    home, size_bytes = options.home, options.transfer_bytes
    with bare_server(home) as bare, full_server(home) as server:
        names = ("send", "receive", "hash", "write", "push", "pull")
        samples = go_round(
            [
                lambda: of_stream(home, bare, "send", size_bytes),
                lambda: of_stream(home, bare, "receive", size_bytes),
                lambda: of_hashing(size_bytes),
                lambda: of_writing(home, size_bytes),
                lambda: of_push(home, server, size_bytes),
                lambda: of_pull(home, server),
            ],
            rounds=options.transfer_rounds,
        )
    figures = dict(zip(names, samples, strict=True))
    return [
        Note(
            "The parts: a bare stream, both ends; SHA-256, of a push at both ends, of a pull at "
            f"one; one write of the bytes, synced. {CORES} cores do them no faster than 'at most'."
        ),
        *bounds("push", size_bytes, figures, stream="send", hashes=2),
        *bounds("pull", size_bytes, figures, stream="receive", hashes=1),
        *(
            Fact(f"processors: {part}", median(p for _, p in figures[part]), "s")
            for part in ("send", "receive", "hash", "write")
        ),
    ]


def bounds(
    kind: str, size_bytes: int, figures: Mapping[str, list[Times]], *, stream: str, hashes: int
) -> Iterator[Row]:
    """Say what share of a transfer its parts are, and how much of a bare stream they leave."""
    verified = [
        streamed + hashes * hashed
        for (_, streamed), (_, hashed) in zip(figures[stream], figures["hash"], strict=True)
    ]
    stored = tuple(
        part + written for part, (_, written) in zip(verified, figures["write"], strict=True)
    )
    whole = tuple(processors for _, processors in figures[kind])
    yield Comparison(f"{kind}: processors", "s", stored, whole, "of the whole", "higher")
    for name, elapsed in (
        ("measured", [seconds for seconds, _ in figures[kind]]),
        ("at most", [part / CORES for part in stored]),
        ("at most, nothing stored", [part / CORES for part in verified]),
    ):
        yield Comparison(
            f"{kind}: {name}",
            "MB/s",
            speeds(size_bytes, elapsed),
            speeds(size_bytes, [seconds for seconds, _ in figures[stream]]),
            "bare stream",
            "higher",
        )


def speeds(size_bytes: int, elapsed: Iterable[float]) -> tuple[float, ...]:
    """Turn seconds into megabytes a second."""
    return tuple(size_bytes / seconds / MEGABYTE for seconds in elapsed)


def of_stream(home: Path, bare: Server, kind: str, size_bytes: int) -> Times:
    """Stream as many bytes, and drop them."""
    return both_ends(bare, lambda: run_transfer(kind, bare.address, size_bytes, cache=home))


def of_hashing(size_bytes: int) -> Times:
    """Hash as many bytes, a message at a time."""
    data = os.urandom(MESSAGE_BYTES)
    return timed(lambda: [hashlib.sha256(data).digest() for _ in range(size_bytes // len(data))])


def of_writing(home: Path, size_bytes: int) -> Times:
    """Write files of a message's size, and sync each, a few at once."""
    data = os.urandom(MESSAGE_BYTES)
    directory = new_directory(home, "synced")
    paths = [directory / str(number) for number in range(size_bytes // MESSAGE_BYTES)]
    os.sync()
    with ThreadPoolExecutor(DISK_THREADS) as threads:
        times = timed(lambda: list(threads.map(lambda path: write_synced(path, data), paths)))
    shutil.rmtree(directory)
    return times


def of_push(home: Path, server: Server, size_bytes: int) -> Times:
    """Push bytes that never were before."""
    with random_files(home, size_bytes) as directory:
        cache = new_path(home, "cache")
        return both_ends(
            server, lambda: run_transfer("push", server.address, MODEL, directory, cache=cache)
        )


def of_pull(home: Path, server: Server) -> Times:
    """Pull what was pushed last, without a cache."""
    destination = new_path(home, "pulled")
    times = both_ends(
        server, lambda: run_transfer("pull", server.address, MODEL, destination, cache=home)
    )
    shutil.rmtree(destination)
    return times


def both_ends(server: Server, transfer: Callable[[], Transfer]) -> Times:
    """Add the processors' time at the server to that at the client."""
    before = server.processor_seconds
    seen = transfer()
    return seen.seconds, seen.processor_seconds + server.processor_seconds - before


def timed(work: Callable[[], object]) -> Times:
    """Do something in this process."""
    began, processor_began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - processor_began
