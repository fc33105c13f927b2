"""One transfer in a process of its own: `python -m tests.bench.transferring KIND ADDRESS …`.

Prints how long it took, and how long processors did, without the start of the process; the
process's peak of memory, and how many bytes the client says it has moved.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import grpc
import uvloop

from herdbook import Client
from tests.bench.baselines import DISCARD_METHOD, MESSAGE_BYTES, SUPPLY_METHOD
from tests.bench.machine import peak_memory_bytes


def push(address: str, model: str, directory: str) -> int:
    """Push a directory as a model's next version."""
    with Client(address) as client:
        transfer = client.push(model, directory, capture=False).transfer
    assert transfer is not None
    return transfer.moved_bytes


def pull(address: str, model: str, directory: str) -> int:
    """Pull a model's newest version, without a cache."""
    with Client(address, cache=False) as client:
        return client.pull(model, directory).transfer.moved_bytes


def pull_and_cache(address: str, model: str, directory: str) -> int:
    """Pull a model's newest version, and keep its chunks for other pulls."""
    with Client(address) as client:
        return client.pull(model, directory).transfer.moved_bytes


def boto_push(endpoint: str, bucket: str, directory: str) -> int:
    """Upload files by boto3's managed transfer, in parts and in parallel as it likes."""
    client = boto3.client("s3", endpoint_url=endpoint)
    for path in Path(directory).iterdir():
        client.upload_file(str(path), bucket, path.name)
    return 0


def boto_pull(endpoint: str, bucket: str, directory: str) -> int:
    """Download by boto3's managed transfer what was uploaded last."""
    client = boto3.client("s3", endpoint_url=endpoint)
    Path(directory).mkdir()
    for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.download_file(bucket, item["Key"], str(Path(directory, item["Key"])))
    return 0


def send(address: str, size_bytes: str) -> int:
    """Send as many bytes to a method that drops them."""
    uvloop.run(send_stream(address, int(size_bytes)))
    return int(size_bytes)


async def send_stream(address: str, size_bytes: int) -> None:
    """Send one stream of messages."""
    async with grpc.aio.insecure_channel(address) as channel:
        counted = await channel.stream_unary(DISCARD_METHOD)(messages(size_bytes))
        assert int(counted) == size_bytes


def messages(size_bytes: int) -> Iterator[bytes]:
    """Yield the same message until that many bytes are there."""
    message = os.urandom(min(MESSAGE_BYTES, size_bytes))
    for remaining in range(size_bytes, 0, -MESSAGE_BYTES):
        yield message[:remaining]


def receive(address: str, size_bytes: str) -> int:
    """Receive as many bytes from a method that makes them up, and drop them."""
    uvloop.run(receive_stream(address, int(size_bytes)))
    return int(size_bytes)


async def receive_stream(address: str, size_bytes: int) -> None:
    """Receive one stream of messages."""
    received = 0
    async with grpc.aio.insecure_channel(address) as channel:
        async for message in channel.unary_stream(SUPPLY_METHOD)(str(size_bytes).encode()):
            received += len(message)
    assert received == size_bytes


KINDS: dict[str, Callable[..., int]] = {
    each.__name__: each
    for each in (push, pull, pull_and_cache, boto_push, boto_pull, send, receive)
}


def main(kind: str, *arguments: str) -> None:
    """Transfer, and print figures."""
    began = time.perf_counter()
    processor_began = time.process_time()
    moved_bytes = KINDS[kind](*arguments)
    figures = {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - processor_began,
        "peak_memory_bytes": peak_memory_bytes(os.getpid()),
        "moved_bytes": moved_bytes,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
