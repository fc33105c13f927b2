"""The contract by plain stubs, for tests of the server that want none of the client."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterable, Sequence
from typing import Self

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from herdbook.v1 import (
    alias_pb2_grpc,
    artifact_pb2,
    artifact_pb2_grpc,
    event_pb2_grpc,
    fleet_pb2_grpc,
    manifest_pb2,
    model_pb2_grpc,
    server_pb2_grpc,
    version_pb2,
    version_pb2_grpc,
)

CHUNK_BYTES = 2 * 1024 * 1024


class Stubs:
    """Every service over one channel on threads."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)
        self.versions = version_pb2_grpc.VersionServiceStub(self.channel)
        self.aliases = alias_pb2_grpc.AliasServiceStub(self.channel)
        self.artifacts = artifact_pb2_grpc.ArtifactServiceStub(self.channel)
        self.fleet = fleet_pb2_grpc.FleetServiceStub(self.channel)
        self.events = event_pb2_grpc.EventServiceStub(self.channel)
        self.server = server_pb2_grpc.ServerServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def upload(self, model: str, chunks: Iterable[bytes]) -> artifact_pb2.UploadChunksResponse:
        """Send chunks in one stream, one in a message."""
        return self.artifacts.UploadChunks(
            artifact_pb2.UploadChunksRequest(model=model, chunks=[chunk(data)]) for data in chunks
        )

    def missing(self, model: str, chunks: Iterable[bytes]) -> set[bytes]:
        """Digests of those chunks that the model does not have."""
        request = artifact_pb2.FindMissingChunksRequest(model=model, sha256=map(sha256, chunks))
        return set(self.artifacts.FindMissingChunks(request).missing_sha256)

    def register(
        self, model: str, files: Sequence[manifest_pb2.File], **fields: object
    ) -> version_pb2.Version:
        """Register a version of files whose chunks are there."""
        request = version_pb2.RegisterVersionRequest(
            version=version_pb2.Version(model=model),
            manifest=manifest_pb2.Manifest(files=files),
            **fields,
        )
        return self.versions.RegisterVersion(request).version

    def push(self, model: str, data: bytes, **fields: object) -> version_pb2.Version:
        """Make a version of one file, `model.bin`."""
        chunks = cut(data)
        self.upload(model, chunks)
        return self.register(model, [file("model.bin", chunks)], **fields)

    def refer(self, model: str, **fields: object) -> version_pb2.Version:
        """Make a version by reference, the cheapest kind."""
        request = version_pb2.RegisterVersionRequest(
            version=version_pb2.Version(model=model), source_uri="s3://barn/model", **fields
        )
        return self.versions.RegisterVersion(request).version

    def read(self, reference: str, path: str = "model.bin") -> bytes:
        """Return the bytes of a file."""
        request = artifact_pb2.ReadFileRequest(reference=reference, path=path)
        return b"".join(piece.data for piece in self.artifacts.ReadFile(request))


def refusal(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Status and reason of what a call was refused with."""
    return error.code(), details(error).reason


def details(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """What a refusal says for programs."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None, error
    assert status.details[0].Unpack(info)
    return info


def unique(name: str) -> str:
    """Return the name of a model that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def random_bytes(size_bytes: int, *, seed: int = 0) -> bytes:
    """Bytes that are the same every time."""
    return random.Random(f"{seed} {size_bytes}").randbytes(size_bytes)


def sha256(data: bytes) -> bytes:
    """The digest that names a chunk."""
    return hashlib.sha256(data).digest()


def cut(data: bytes, chunk_bytes: int = CHUNK_BYTES) -> list[bytes]:
    """Cut bytes into chunks."""
    return [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]


def chunk(data: bytes) -> artifact_pb2.Chunk:
    """A chunk with its digest."""
    return artifact_pb2.Chunk(sha256=sha256(data), data=data)


def file(path: str, chunks: Iterable[bytes]) -> manifest_pb2.File:
    """A file of a manifest."""
    refs = [manifest_pb2.ChunkRef(sha256=sha256(data), size_bytes=len(data)) for data in chunks]
    return manifest_pb2.File(path=path, chunks=refs)
