"""What must not be stored is refused with the right status and reason, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from herdbook.v1 import alias_pb2, artifact_pb2, manifest_pb2, model_pb2, version_pb2
from tests.support.server import ServerProcess
from tests.support.stubs import Stubs, chunk, file, random_bytes, refusal, sha256, unique

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ONE = b"the bytes of one chunk"


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    with Stubs(server.address) as made:
        yield made


@pytest.fixture
def model() -> str:
    return unique("refused")


def expect_nothing_stored(stubs: Stubs, model: str) -> None:
    """There is no such model, so there is no version of it either."""
    with pytest.raises(grpc.RpcError) as caught:
        stubs.models.GetModel(model_pb2.GetModelRequest(model=model))
    assert refusal(caught.value) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


def test_a_chunk_with_other_bytes_than_its_digest_says(stubs: Stubs, model: str) -> None:
    wrong = artifact_pb2.Chunk(sha256=sha256(ONE), data=b"other bytes")
    request = artifact_pb2.UploadChunksRequest(model=model, chunks=[wrong])
    with pytest.raises(grpc.RpcError) as caught:
        stubs.artifacts.UploadChunks(iter([request] * 40))
    assert refusal(caught.value) == (INVALID, "CHUNK_MISMATCH")
    assert sha256(ONE).hex() in caught.value.details()
    assert stubs.missing(model, [ONE, b"other bytes"]) == {sha256(ONE), sha256(b"other bytes")}


@pytest.mark.parametrize("data", [b"", bytes(2 * 1024 * 1024 + 1)], ids=["empty", "too large"])
def test_a_chunk_of_the_wrong_size(stubs: Stubs, model: str, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.upload(model, [data])
    assert refusal(caught.value) == (INVALID, "CHUNK_TOO_LARGE")
    assert stubs.missing(model, [data])


def test_a_message_of_an_upload_that_carries_too_much(stubs: Stubs, model: str) -> None:
    two = [chunk(bytes([number]) * 1_500_000) for number in range(2)]
    with pytest.raises(grpc.RpcError) as caught:
        stubs.artifacts.UploadChunks(
            iter([artifact_pb2.UploadChunksRequest(model=model, chunks=two)])
        )
    assert refusal(caught.value) == (INVALID, "FIELD_INVALID")
    piece = artifact_pb2.WriteFileRequest(model=model, path="a", data=bytes(2 * 1024 * 1024 + 1))
    with pytest.raises(grpc.RpcError) as caught:
        stubs.artifacts.WriteFile(iter([piece]))
    assert refusal(caught.value) == (INVALID, "FIELD_INVALID")


def test_a_manifest_that_names_a_chunk_never_uploaded(stubs: Stubs, model: str) -> None:
    stubs.upload(model, [ONE])
    with pytest.raises(grpc.RpcError) as caught:
        stubs.register(model, [file("a", [ONE]), file("b", [b"never uploaded"])])
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "CHUNKS_MISSING")
    expect_nothing_stored(stubs, model)


def test_a_manifest_that_names_a_chunk_of_another_model(stubs: Stubs, model: str) -> None:
    secret = random_bytes(1000, seed=7)
    stubs.upload(unique("secret"), [secret])
    assert stubs.missing(model, [secret])
    with pytest.raises(grpc.RpcError) as caught:
        stubs.register(model, [file("a", [secret])])
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "CHUNKS_MISSING")
    expect_nothing_stored(stubs, model)


def test_a_manifest_that_gives_a_chunk_another_size(stubs: Stubs, model: str) -> None:
    stubs.upload(model, [ONE])
    entry = file("a", [ONE])
    entry.chunks[0].size_bytes += 1
    with pytest.raises(grpc.RpcError) as caught:
        stubs.register(model, [entry])
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "CHUNKS_MISSING")
    expect_nothing_stored(stubs, model)


@pytest.mark.parametrize(
    "paths",
    [
        ["../x"],
        ["/x"],
        ["a//b"],
        ["C:\\x"],
        ["C:x"],
        ["a\0b"],
        ["a\nb"],
        ["a/./b"],
        ["a/.."],
        ["a/"],
        [""],
        ["e\u0301"],
        ["x" * 256],
        ["Cow", "cow"],
        ["straße", "STRASSE"],
        ["a", "a/b"],
        ["A", "a/b"],
        ["a", "a"],
    ],
    ids=ascii,
)
def test_a_manifest_with_bad_paths(stubs: Stubs, model: str, paths: list[str]) -> None:
    stubs.upload(model, [ONE])
    with pytest.raises(grpc.RpcError) as caught:
        stubs.register(model, [file(path, [ONE]) for path in paths])
    assert refusal(caught.value) == (INVALID, "PATH_INVALID")
    expect_nothing_stored(stubs, model)


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "C:\\x", "a\0b"])
def test_a_file_written_to_a_bad_path(stubs: Stubs, model: str, path: str) -> None:
    request = artifact_pb2.WriteFileRequest(model=model, path=path, data=ONE)
    with pytest.raises(grpc.RpcError) as caught:
        stubs.artifacts.WriteFile(iter([request]))
    assert refusal(caught.value) == (INVALID, "PATH_INVALID")
    assert stubs.missing(model, [ONE])


def test_an_empty_manifest(stubs: Stubs, model: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.register(model, [])
    assert refusal(caught.value) == (INVALID, "MANIFEST_INVALID")
    expect_nothing_stored(stubs, model)


def test_a_tag_of_ten_megabytes(stubs: Stubs, model: str) -> None:
    request = version_pb2.RegisterVersionRequest(
        version=version_pb2.Version(model=model, tags={"team": "x" * 10_000_000}),
        source_uri="s3://barn/model",
    )
    with pytest.raises(grpc.RpcError) as caught:
        stubs.versions.RegisterVersion(request)
    assert refusal(caught.value) == (INVALID, "FIELD_INVALID")
    expect_nothing_stored(stubs, model)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "number = 1" + ")" * 10_000,
        "(" * 2000 + "number = 1" + ")" * 2000,
        "NOT " * 1000 + "number = 1",
        "number = 1 AND " * 1000 + "number = 1",
    ],
    ids=["10,000 deep", "2,000 deep", "1,000 times not", "1,000 wide"],
)
def test_a_filter_that_is_too_much(stubs: Stubs, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.versions.ListVersions(version_pb2.ListVersionsRequest(filter=text))
    assert refusal(caught.value) == (INVALID, "FILTER_INVALID")


def test_a_page_token_of_another_list(stubs: Stubs) -> None:
    model = unique("paged")
    for _ in range(3):
        stubs.refer(model)
    page = stubs.versions.ListVersions(version_pb2.ListVersionsRequest(model=model, page_size=1))
    for request in (
        version_pb2.ListVersionsRequest(page_token=page.next_page_token),
        version_pb2.ListVersionsRequest(model=model, page_token=page.next_page_token[:-3]),
        version_pb2.ListVersionsRequest(model=model, page_token="ä"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stubs.versions.ListVersions(request)
        assert refusal(caught.value) == (INVALID, "PAGE_TOKEN_INVALID")


def test_an_update_mask_that_names_what_cannot_be_changed(stubs: Stubs, model: str) -> None:
    stubs.models.CreateModel(model_pb2.CreateModelRequest(model=model_pb2.Model(name=model)))
    for paths in ([], ["author"], ["description", "revision"]):
        request = model_pb2.UpdateModelRequest(
            model=model_pb2.Model(name=model, description="moo"), update_mask=FieldMask(paths=paths)
        )
        with pytest.raises(grpc.RpcError) as caught:
            stubs.models.UpdateModel(request)
        assert refusal(caught.value) == (INVALID, "FIELD_INVALID")
    read = stubs.models.GetModel(model_pb2.GetModelRequest(model=model)).model
    assert not read.description


def test_both_files_and_an_address_or_neither(stubs: Stubs, model: str) -> None:
    version = version_pb2.Version(model=model)
    manifest = manifest_pb2.Manifest(files=[file("a", [])])
    for request in (
        version_pb2.RegisterVersionRequest(version=version),
        version_pb2.RegisterVersionRequest(
            version=version, manifest=manifest, source_uri="s3://barn/model"
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stubs.versions.RegisterVersion(request)
        assert refusal(caught.value) == (INVALID, "FIELD_INVALID")
    expect_nothing_stored(stubs, model)


def test_an_alias_for_a_version_that_is_not_there(stubs: Stubs, model: str) -> None:
    stubs.refer(model)
    with pytest.raises(grpc.RpcError) as caught:
        stubs.aliases.SetAlias(alias_pb2.SetAliasRequest(model=model, alias="champion", version=2))
    assert refusal(caught.value) == (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")
    listed = stubs.aliases.ListAliases(alias_pb2.ListAliasesRequest(model=model))
    assert not listed.aliases


def test_a_stage_that_is_not_told(stubs: Stubs, model: str) -> None:
    stubs.refer(model)
    for stage in (0, 99):
        request = version_pb2.SetStageRequest(reference=f"{model}:1", stage=stage)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.versions.SetStage(request)
        assert refusal(caught.value) == (INVALID, "FIELD_INVALID")


def test_a_chunk_that_a_version_does_not_list_is_not_given_out(stubs: Stubs, model: str) -> None:
    secret = random_bytes(1000, seed=8)
    stubs.push(unique("secret"), secret)
    stubs.push(model, ONE)
    request = artifact_pb2.DownloadChunksRequest(
        model=model, version=1, sha256=[sha256(ONE), sha256(secret)]
    )
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.artifacts.DownloadChunks(request))
    assert refusal(caught.value) == (grpc.StatusCode.NOT_FOUND, "CHUNK_NOT_FOUND")


def test_one_upload_for_two_models(stubs: Stubs, model: str) -> None:
    other = unique("other")
    requests = [
        artifact_pb2.UploadChunksRequest(model=model, chunks=[chunk(ONE)]),
        artifact_pb2.UploadChunksRequest(model=other, chunks=[chunk(b"more")]),
    ]
    with pytest.raises(grpc.RpcError) as caught:
        stubs.artifacts.UploadChunks(iter(requests))
    assert refusal(caught.value) == (INVALID, "FIELD_INVALID")
    assert stubs.missing(other, [b"more"])


def test_a_range_beyond_the_end_of_a_file(stubs: Stubs, model: str) -> None:
    stubs.push(model, ONE)
    request = artifact_pb2.ReadFileRequest(
        reference=f"{model}:1", path="model.bin", offset=len(ONE) + 1
    )
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.artifacts.ReadFile(request))
    assert refusal(caught.value) == (grpc.StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE")


def test_the_files_of_a_version_by_reference(stubs: Stubs, model: str) -> None:
    stubs.refer(model)
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.artifacts.GetManifest(artifact_pb2.GetManifestRequest(reference=model)))
    assert refusal(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_MANIFEST")


@pytest.mark.parametrize("path", ["nope", "a\0b", "x" * 100_000], ids=["other", "NUL", "long"])
def test_a_file_that_no_version_can_have_is_not_found(stubs: Stubs, model: str, path: str) -> None:
    stubs.push(model, ONE)
    with pytest.raises(grpc.RpcError) as caught:
        stubs.read(model, path)
    assert refusal(caught.value) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")
