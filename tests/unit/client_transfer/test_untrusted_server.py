"""Pulls from servers that answer for something else, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from herdbook import Client, errors
from herdbook.core.values import ChunkRef
from herdbook.transfer import CancelToken
from herdbook.transfer.fetching import ChunkSource
from herdbook.transport.caller import Caller
from herdbook.transport.connection import Connection
from herdbook.v1.artifact_pb2 import Chunk, DownloadChunksResponse, GetManifestResponse
from tests.support.fake_registry import FakeRegistry

DATA = b"data"
REF = ChunkRef(sha256(DATA).digest(), len(DATA))


@pytest.fixture(autouse=True)
def pushed(client: Client, files: Path) -> None:
    client.push("m", files, capture=False)


@pytest.mark.parametrize(
    ("reference", "answered"),
    [
        ("m:1", ("m", 2)),
        ("m:1", ("n", 1)),
        ("m", ("../../etc", 1)),
        ("m", ("m", 0)),
        ("m", ("m", -7)),
        ("m@champion", ("M", 1)),
        ("models:/m/1", ("m", 3)),
    ],
)
def test_a_manifest_of_something_else_is_refused(
    registry: FakeRegistry, client: Client, reference: str, answered: tuple[str, int]
) -> None:
    model, version = answered
    stored = registry.versions["m"][0]

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield GetManifestResponse(
            model=model, version=version, digest=stored.version.digest, files=stored.files
        )

    registry.answers["GetManifest"] = answer
    with pytest.raises(errors.ResponseInvalid):
        client.get_manifest(reference)


@pytest.fixture
def source(registry: FakeRegistry) -> Iterator[ChunkSource]:
    """Takes a download for broken long before its deadline."""
    caller = Caller(Connection.configured(registry.server, timeout_seconds=600))
    yield ChunkSource(
        caller,
        model="m",
        version=1,
        cache=None,
        cancel=CancelToken(),
        silence_seconds=0.1,
    )
    caller.close()


def stalls(ended: threading.Event) -> Iterator[DownloadChunksResponse]:
    if not ended.wait(20):
        raise TimeoutError
    yield from ()


def sends_nothing_for_ever(ended: threading.Event) -> Iterator[DownloadChunksResponse]:
    for _ in range(2000):
        if ended.wait(0.01):
            return
        yield DownloadChunksResponse()
    raise TimeoutError


@pytest.mark.parametrize("misbehaves", [stalls, sends_nothing_for_ever])
def test_a_download_that_brings_nothing_has_broken_and_is_begun_again(
    registry: FakeRegistry,
    source: ChunkSource,
    misbehaves: Callable[[threading.Event], Iterator[DownloadChunksResponse]],
) -> None:
    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if registry.calls["DownloadChunks"] == 1:
            ended = threading.Event()
            context.add_callback(ended.set)
            yield from misbehaves(ended)
        else:
            yield DownloadChunksResponse(chunks=[Chunk(sha256=REF.sha256, data=DATA)])

    registry.answers["DownloadChunks"] = answer
    found: list[bytes] = []
    source.fetch([REF], lambda _, data: found.append(bytes(data)))
    assert found == [DATA]
    assert registry.calls["DownloadChunks"] == 2
