"""One transfer in a process of its own: `python -m tests.bench.transferring KIND ADDRESS …`.

Prints how long it took, without the start of the process, and the process's peak of memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator

import grpc
import uvloop

from herdbook import Client
from tests.bench.baselines import DISCARD_METHOD, MESSAGE_BYTES, SUPPLY_METHOD
from tests.bench.machine import peak_memory_bytes


def push(address: str, model: str, directory: str) -> None:
    """Push a directory as a model's next version."""
    with Client(address) as client:
        client.push(model, directory, capture=False)


def pull(address: str, model: str, directory: str) -> None:
    """Pull a model's newest version, without a cache."""
    with Client(address, cache=False) as client:
        client.pull(model, directory)


def pull_and_cache(address: str, model: str, directory: str) -> None:
    """Pull a model's newest version, and keep its chunks for other pulls."""
    with Client(address) as client:
        client.pull(model, directory)


def send(address: str, size_bytes: str) -> None:
    """Send as many bytes to a method that drops them."""
    uvloop.run(send_stream(address, int(size_bytes)))


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


def receive(address: str, size_bytes: str) -> None:
    """Receive as many bytes from a method that makes them up, and drop them."""
    uvloop.run(receive_stream(address, int(size_bytes)))


async def receive_stream(address: str, size_bytes: int) -> None:
    """Receive one stream of messages."""
    received = 0
    async with grpc.aio.insecure_channel(address) as channel:
        async for message in channel.unary_stream(SUPPLY_METHOD)(str(size_bytes).encode()):
            received += len(message)
    assert received == size_bytes


KINDS: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (push, pull, pull_and_cache, send, receive)
}


def main(kind: str, *arguments: str) -> None:
    """Transfer, and print figures."""
    began = time.perf_counter()
    KINDS[kind](*arguments)
    seconds = time.perf_counter() - began
    figures = {"seconds": seconds, "peak_memory_bytes": peak_memory_bytes(os.getpid())}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
