"""Chunks to and from S3 by signed requests: what they grant, and what happens without them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from herdbook import Client
from herdbook.core.operations.artifacts import SignedRequest
from herdbook.transport.direct import Exchange
from herdbook.v1 import artifact_pb2 as pb
from herdbook.v1.artifact_pb2_grpc import ArtifactServiceStub
from herdbook.v1.manifest_pb2 import ChunkRef
from tests.support.s3 import verifies_signatures
from tests.support.server import Engines, ServerProcess, fresh_engines
from tests.support.strict_s3 import strict_s3

MODEL = "fraud/tc"
DATA = os.urandom(300_000)
ZEROS = base64.b64encode(hashlib.sha256(bytes(len(DATA))).digest()).decode()


@pytest.fixture(scope="module")
def engines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engines]:
    """SQLite, and S3 that verifies what is signed."""
    with ExitStack() as stack:
        made = stack.enter_context(
            fresh_engines("sqlite+s3", tmp_path_factory.mktemp("direct"), request)
        )
        if verifies_signatures():
            yield made
            return
        environment = dict(made.environment)
        environment["AWS_ENDPOINT_URL_S3"] = stack.enter_context(
            strict_s3(environment["AWS_ENDPOINT_URL_S3"], environment["AWS_SECRET_ACCESS_KEY"])
        )
        yield Engines(made.name, made.settings, environment)


@pytest.fixture(scope="module")
def server(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that offers signed requests."""
    home = tmp_path_factory.mktemp("server")
    with ServerProcess(engines, home, direct="true") as process:
        yield process


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[ArtifactServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield ArtifactServiceStub(channel)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Large files of random bytes and a small one."""
    directory = tmp_path / "pushed"
    directory.mkdir()
    (directory / "large.bin").write_bytes(os.urandom(5_000_000))
    (directory / "small.txt").write_bytes(os.urandom(100))
    return directory


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The method of each signed request that S3 answers well to a client of this process."""
    made: list[str] = []
    attempt = Exchange._attempt

    def note(self: Exchange, request: SignedRequest, *rest: Any, **named: Any) -> bytes:
        data = attempt(self, request, *rest, **named)
        made.append(request.method)
        return data

    monkeypatch.setattr(Exchange, "_attempt", note)
    return made


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def made(request: pb.SignedRequest, body: bytes | None = None, **headers: str) -> int:
    """Make a signed request; return the status of its answer."""
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    method = "GET" if body is None else "PUT"
    connection.request(
        method, f"{parts.path}?{parts.query}", body, {**dict(request.headers), **headers}
    )
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def ref(data: bytes) -> ChunkRef:
    return ChunkRef(sha256=hashlib.sha256(data).digest(), size_bytes=len(data))


def signed(stub: ArtifactServiceStub, *chunks: bytes, model: str = MODEL) -> pb.SignUploadsResponse:
    return stub.SignUploads(pb.SignUploadsRequest(model=model, chunks=map(ref, chunks)))


def confirmed(
    stub: ArtifactServiceStub, proof: str, *chunks: bytes, model: str = MODEL
) -> list[bytes]:
    request = pb.ConfirmUploadsRequest(model=model, chunks=map(ref, chunks), proof=proof)
    return list(stub.ConfirmUploads(request).sha256)


def is_missing(stub: ArtifactServiceStub, digest: bytes, model: str) -> bool:
    request = pb.FindMissingChunksRequest(model=model, sha256=[digest])
    return list(stub.FindMissingChunks(request).missing_sha256) == [digest]


def test_large_chunks_go_past_the_server_both_ways(
    server: ServerProcess, files: Path, tmp_path: Path, answers: list[str]
) -> None:
    with Client(server.address, cache=False) as client:
        transfer = client.push("m", files, capture=False).transfer
        assert transfer is not None
        assert transfer.moved_bytes == 5_000_100
        assert answers == ["PUT"] * 3
        answers.clear()
        client.pull("m", tmp_path / "pulled")
    assert answers == ["GET"] * 3
    assert contents(tmp_path / "pulled") == contents(files)


def test_a_server_does_not_offer_what_it_is_not_told_to(
    engines: Engines, files: Path, tmp_path: Path, answers: list[str]
) -> None:
    with ExitStack() as stack:
        home = tmp_path / "plain"
        home.mkdir()
        settings = {**engines.settings, "data": str(home / "data")}
        plain = Engines("plain", settings, engines.environment)
        server = stack.enter_context(ServerProcess(plain, home))
        client = stack.enter_context(Client(server.address, cache=False))
        client.push("m", files, capture=False)
        client.pull("m", tmp_path / "pulled")
        stub = ArtifactServiceStub(stack.enter_context(grpc.insecure_channel(server.address)))
        with pytest.raises(grpc.RpcError, match="no direct uploads"):
            signed(stub, DATA)
    assert answers == []


def test_clients_whose_way_to_s3_is_barred_go_through_the_server(
    engines: Engines, files: Path, tmp_path: Path, answers: list[str]
) -> None:
    settings = {**engines.settings, "data": str(tmp_path / "data")}
    barred = Engines("barred", settings, engines.environment)
    nowhere = "http://127.0.0.1:9"
    with (
        ServerProcess(barred, tmp_path, direct="true", direct_endpoint=nowhere) as server,
        Client(server.address, cache=False) as client,
    ):
        client.push("m", files, capture=False)
        client.pull("m", tmp_path / "pulled")
    assert contents(tmp_path / "pulled") == contents(files)
    assert not answers


def test_wrong_bytes_from_s3_are_fetched_again_through_the_server(
    server: ServerProcess, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(server.address, cache=False) as client:
        client.push("wrong", files, capture=False)
        monkeypatch.setattr(Exchange, "_attempt", lambda *_, **__: b"wrong")
        client.pull("wrong", tmp_path / "pulled")
    assert contents(tmp_path / "pulled") == contents(files)


@pytest.mark.parametrize(
    ("spoil", "headers"),
    [
        (lambda data: bytes(len(data)), {}),
        (lambda data: data[:-1], {}),
        (lambda data: data[:0], {}),
        (lambda data: bytes(len(data)), {"x-amz-checksum-sha256": ZEROS}),
    ],
    ids=["other bytes", "fewer bytes", "no bytes", "another checksum"],
)
def test_a_signed_request_stores_nothing_but_its_chunk(
    stub: ArtifactServiceStub, spoil: Callable[[bytes], bytes], headers: Mapping[str, str]
) -> None:
    data = os.urandom(300_000)
    uploads = signed(stub, data)
    (request,) = uploads.requests
    made(request, spoil(data), **headers)
    assert confirmed(stub, uploads.proof, data) == []
    assert is_missing(stub, ref(data).sha256, MODEL)
    assert made(request, data) == http.client.OK
    assert confirmed(stub, uploads.proof, data) == [ref(data).sha256]
    assert not is_missing(stub, ref(data).sha256, MODEL)


def test_knowing_a_digest_grants_nothing(stub: ArtifactServiceStub) -> None:
    secret = os.urandom(300_000)
    owner = signed(stub, secret)
    spy = signed(stub, secret, model="spy")
    made(owner.requests[0], secret)
    assert confirmed(stub, spy.proof, secret, model="spy") == []
    assert confirmed(stub, owner.proof, secret) == [ref(secret).sha256]
    assert confirmed(stub, spy.proof, secret, model="spy") == []
    assert is_missing(stub, ref(secret).sha256, "spy")


def test_a_size_that_was_not_so_is_not_believed(stub: ArtifactServiceStub) -> None:
    data = os.urandom(300_000)
    wrong = ChunkRef(sha256=ref(data).sha256, size_bytes=1000)
    uploads = signed(stub, data)
    made(uploads.requests[0], data)
    request = pb.ConfirmUploadsRequest(model=MODEL, chunks=[wrong], proof=uploads.proof)
    assert not stub.ConfirmUploads(request).sha256
    assert confirmed(stub, uploads.proof, data) == [wrong.sha256]


def test_a_proof_is_good_for_one_model(stub: ArtifactServiceStub) -> None:
    data = os.urandom(300_000)
    uploads = signed(stub, data)
    made(uploads.requests[0], data)
    assert confirmed(stub, uploads.proof, data, model="another") == []


def test_what_was_confirmed_is_confirmed_again(stub: ArtifactServiceStub) -> None:
    data = os.urandom(300_000)
    uploads = signed(stub, data)
    made(uploads.requests[0], data)
    for _ in range(2):
        assert confirmed(stub, uploads.proof, data) == [ref(data).sha256]


def test_a_signed_request_cannot_change_what_is_stored(
    server: ServerProcess, stub: ArtifactServiceStub, tmp_path: Path
) -> None:
    data = os.urandom(300_000)
    uploads = signed(stub, data)
    (request,) = uploads.requests
    made(request, data)
    confirmed(stub, uploads.proof, data)
    made(request, bytes(len(data)))
    made(request, data, **{"x-amz-copy-source": "any/thing"})
    (tmp_path / "file").write_bytes(data)
    with Client(server.address, cache=False) as client:
        client.push("same", tmp_path / "file", capture=False)
        client.pull("same", tmp_path / "pulled")
    assert (tmp_path / "pulled/file").read_bytes() == data


def test_only_chunks_of_the_version_can_be_fetched(
    server: ServerProcess, stub: ArtifactServiceStub, files: Path
) -> None:
    with Client(server.address, cache=False) as client:
        client.push("own", files, capture=False)
        chunks = client.get_manifest("own").manifest.files[0].chunks
    request = pb.SignDownloadsRequest(model="own", version=1, sha256=[chunks[0].sha256])
    (fetching,) = stub.SignDownloads(request).requests
    assert made(fetching) == http.client.OK
    with pytest.raises(grpc.RpcError, match="does not list"):
        stub.SignDownloads(
            pb.SignDownloadsRequest(model="own", version=1, sha256=[ref(DATA).sha256])
        )


@pytest.mark.parametrize("proof", ["", "no proof", "0" * 100])
def test_a_proof_that_nobody_gave_is_refused(stub: ArtifactServiceStub, proof: str) -> None:
    with pytest.raises(grpc.RpcError, match="proof"):
        confirmed(stub, proof, DATA)


def test_direct_access_to_local_files_is_refused_at_start(tmp_path: Path) -> None:
    engines = Engines("local", {"data": str(tmp_path / "data")}, {})
    server = ServerProcess(engines, tmp_path, direct="true")
    with pytest.raises(RuntimeError, match="--direct needs --artifacts"):
        server.start()
