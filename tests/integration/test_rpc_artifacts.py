"""Bytes come back as they went in, whole and in parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from herdbook.v1 import artifact_pb2, manifest_pb2
from tests.support.server import ServerProcess
from tests.support.stubs import (
    CHUNK_BYTES,
    Stubs,
    chunk,
    cut,
    file,
    random_bytes,
    sha256,
    unique,
)

MIB = 1024 * 1024
MESSAGE_MAX_BYTES = 4 * MIB


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    with Stubs(server.address) as made:
        yield made


@pytest.fixture
def model() -> str:
    return unique("artifacts")


def test_what_is_pushed_is_read_back(stubs: Stubs, model: str) -> None:
    data = random_bytes(5 * MIB + 7)
    version = stubs.push(model, data)
    assert (version.number, version.size_bytes, version.file_count) == (1, len(data), 1)
    assert stubs.read(f"{model}:1") == data


def test_a_second_upload_of_the_same_bytes_is_not_needed(stubs: Stubs, model: str) -> None:
    chunks = cut(random_bytes(5 * MIB))
    assert stubs.missing(model, chunks * 2) == set(map(sha256, chunks))
    received = stubs.upload(model, chunks)
    assert (received.chunk_count, received.size_bytes) == (3, 5 * MIB)
    assert not stubs.missing(model, chunks)


def test_many_small_chunks_share_messages_both_ways(stubs: Stubs, model: str) -> None:
    chunks = [random_bytes(1000, seed=number) for number in range(600)]
    messages = [
        artifact_pb2.UploadChunksRequest(model=model, chunks=map(chunk, chunks[:400])),
        artifact_pb2.UploadChunksRequest(chunks=map(chunk, chunks[400:])),
    ]
    assert stubs.artifacts.UploadChunks(iter(messages)).chunk_count == 600
    stubs.register(model, [file("small", chunks)])
    asked = [sha256(data) for data in reversed(chunks)]
    request = artifact_pb2.DownloadChunksRequest(model=model, version=1, sha256=asked)
    responses = list(stubs.artifacts.DownloadChunks(request))
    assert 1 < len(responses) < 10
    assert [chunk.sha256 for response in responses for chunk in response.chunks] == asked
    received = [chunk.data for response in responses for chunk in response.chunks]
    assert received == chunks[::-1]


def test_a_chunk_is_sent_as_often_as_it_is_asked_for(stubs: Stubs, model: str) -> None:
    stubs.push(model, b"moo")
    request = artifact_pb2.DownloadChunksRequest(
        model=model, version=1, sha256=[sha256(b"moo")] * 3
    )
    responses = list(stubs.artifacts.DownloadChunks(request))
    assert [chunk.data for response in responses for chunk in response.chunks] == [b"moo"] * 3


@pytest.mark.parametrize(
    ("offset", "limit"),
    [
        (0, 0),
        (0, 1),
        (1, 5),
        (CHUNK_BYTES - 1, 2),
        (CHUNK_BYTES, CHUNK_BYTES),
        (CHUNK_BYTES + 3, 0),
        (5 * MIB - 1, 100),
        (5 * MIB, 0),
        (0, 2**62),
    ],
)
def test_any_range_of_a_file_can_be_read(stubs: Stubs, model: str, offset: int, limit: int) -> None:
    data = random_bytes(5 * MIB)
    stubs.push(model, data)
    request = artifact_pb2.ReadFileRequest(
        reference=f"{model}:1", path="model.bin", offset=offset, limit=limit
    )
    pieces = list(stubs.artifacts.ReadFile(request))
    end = offset + limit if limit else len(data)
    assert b"".join(piece.data for piece in pieces) == data[offset:end]
    assert (pieces[0].version, pieces[0].size_bytes) == (1, len(data))


def test_an_empty_file_is_read_as_one_empty_piece(stubs: Stubs, model: str) -> None:
    stubs.register(model, [file("empty", [])])
    request = artifact_pb2.ReadFileRequest(reference=model, path="empty")
    assert [(piece.version, piece.data) for piece in stubs.artifacts.ReadFile(request)] == [
        (1, b"")
    ]


def test_a_file_can_be_written_without_cutting_it(stubs: Stubs, model: str) -> None:
    data = random_bytes(5 * MIB + 3)
    requests = [
        artifact_pb2.WriteFileRequest(model=model, path="weights/model.bin", data=data[: 1 * MIB]),
        artifact_pb2.WriteFileRequest(data=data[1 * MIB : 3 * MIB]),
        artifact_pb2.WriteFileRequest(),
        artifact_pb2.WriteFileRequest(data=data[3 * MIB : 5 * MIB]),
        artifact_pb2.WriteFileRequest(data=data[5 * MIB :]),
    ]
    written = stubs.artifacts.WriteFile(iter(requests))
    assert written.size_bytes == len(data)
    assert written.file == file("weights/model.bin", cut(data))
    stubs.register(model, [written.file])
    assert stubs.read(model, "weights/model.bin") == data


def test_a_large_manifest_comes_in_parts_that_every_client_takes(stubs: Stubs, model: str) -> None:
    data = b"moo"
    stubs.upload(model, [data])
    ref = manifest_pb2.ChunkRef(sha256=sha256(data), size_bytes=len(data))
    files = [
        manifest_pb2.File(path="a/huge", chunks=[ref] * 65_536),
        *(manifest_pb2.File(path=f"b/{number:05}", chunks=[ref]) for number in range(20_000)),
    ]
    version = stubs.register(model, files)
    parts = list(stubs.artifacts.GetManifest(artifact_pb2.GetManifestRequest(reference=model)))
    assert [entry for part in parts for entry in part.files] == files
    assert max(part.ByteSize() for part in parts) < MESSAGE_MAX_BYTES
    assert (parts[0].model, parts[0].version, parts[0].digest) == (model, 1, version.digest)


def test_garbage_is_counted_and_spared_for_the_grace_time(stubs: Stubs, model: str) -> None:
    stubs.upload(model, [random_bytes(1000, seed=9)])
    collected = stubs.artifacts.CollectGarbage(artifact_pb2.CollectGarbageRequest(apply=True))
    assert (collected.chunk_count, collected.deleted) == (0, True)
    assert not stubs.missing(model, [random_bytes(1000, seed=9)])
