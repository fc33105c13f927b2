"""A server that dies in the middle of a push loses nothing that it has answered for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest

from herdbook.v1 import event_pb2, version_pb2
from tests.support.server import ServerProcess
from tests.support.stubs import CHUNK_BYTES, Stubs, cut, file, random_bytes, sha256

MODEL = "fraud/tc"
CHUNKS = 48


def test_a_push_interrupted_by_a_crash_sends_only_the_rest(own_server: ServerProcess) -> None:
    chunks = cut(random_bytes(CHUNKS * CHUNK_BYTES))
    _push_until_half_and_kill(own_server, chunks)
    own_server.start()
    with Stubs(own_server.address) as stubs:
        missing = stubs.missing(MODEL, chunks)
        assert 0 < len(missing) < CHUNKS
        stubs.upload(MODEL, [data for data in chunks if sha256(data) in missing])
        version = stubs.register(MODEL, [file("model.bin", chunks)])
        assert version.number == 1
        assert stubs.read(f"{MODEL}:1") == b"".join(chunks)
        listed = stubs.versions.ListVersions(version_pb2.ListVersionsRequest(model=MODEL))
        assert len(listed.versions) == 1


def test_versions_that_were_answered_for_survive_a_crash(own_server: ServerProcess) -> None:
    with Stubs(own_server.address) as stubs:
        numbers = [stubs.push(MODEL, f"version {index}".encode()).number for index in range(5)]
    own_server.kill()
    own_server.start()
    with Stubs(own_server.address) as stubs:
        read = [stubs.read(f"{MODEL}:{number}") for number in numbers]
        events = stubs.events.ListEvents(event_pb2.ListEventsRequest(page_size=1000)).events
    assert read == [f"version {index}".encode() for index in range(5)]
    assert sorted({event.revision for event in events}) == list(range(1, 6))


def _push_until_half_and_kill(server: ServerProcess, chunks: list[bytes]) -> None:
    """Upload, hold back the end, and kill the server once some of it is durable."""
    killed = threading.Event()

    def half() -> Iterator[bytes]:
        yield from chunks[: CHUNKS // 2]
        killed.wait()

    with Stubs(server.address) as stubs, Stubs(server.address) as observer:
        uploading = threading.Thread(target=_upload_and_fail, args=(stubs, half()))
        uploading.start()
        while len(observer.missing(MODEL, chunks)) == CHUNKS:
            pass
        server.kill()
        killed.set()
        uploading.join()


def _upload_and_fail(stubs: Stubs, chunks: Iterator[bytes]) -> None:
    with pytest.raises(grpc.RpcError):
        stubs.upload(MODEL, chunks)
