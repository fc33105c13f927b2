"""Registries with something in them, made by way of the public contract alone."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator

import grpc

from herdbook.v1.artifact_pb2 import WriteFileRequest
from herdbook.v1.artifact_pb2_grpc import ArtifactServiceStub
from herdbook.v1.manifest_pb2 import File, Manifest
from herdbook.v1.version_pb2 import AliasTarget, RegisterVersionRequest, Version
from herdbook.v1.version_pb2_grpc import VersionServiceStub

MODELS = 40
VERSIONS = 5


async def upload_file(channel: grpc.aio.Channel, model: str) -> File:
    """Upload a small file of random bytes for a model's versions."""

    async def pieces() -> AsyncIterator[WriteFileRequest]:
        yield WriteFileRequest(model=model, path="model.bin", data=os.urandom(1024))

    return (await ArtifactServiceStub(channel).WriteFile(pieces())).file


def registration(
    model: str, file: File, *, label: str = "", alias: str | None = None
) -> RegisterVersionRequest:
    """Describe a version as a training job does."""
    version = Version(
        model=model,
        label=label,
        description="Trained every night.",
        tags={"team": "dairy", "data": "2031-04"},
        params={"depth": "8", "rate": "0.1", "trees": "400"},
        metrics={"rmse": 6.25, "mae": 4.5, "seconds": 81.0},
        framework="scikit-learn",
        format="joblib",
    )
    return RegisterVersionRequest(
        version=version,
        manifest=Manifest(files=[file]),
        aliases=[AliasTarget(alias=alias)] if alias else [],
        request_id=str(uuid.uuid4()),
    )


async def seed(channel: grpc.aio.Channel, *, models: int = MODELS) -> dict[str, int]:
    """Register versions of several models; return references of every form and what they name."""
    expected: dict[str, int] = {}
    for name in (f"dairy/model-{number}" for number in range(models)):
        file = await upload_file(channel, name)
        for number in range(1, VERSIONS + 1):
            await register(channel, name, file, number)
        expected |= {name: VERSIONS, f"{name}@champion": 2}
        expected |= {f"{name}:3": 3, f"{name}:4.0.0": 4}
    return expected


async def register(channel: grpc.aio.Channel, model: str, file: File, number: int) -> None:
    """Register the next version of a model; the second becomes its champion."""
    alias = "champion" if number == 2 else None
    request = registration(model, file, label=f"{number}.0.0", alias=alias)
    answer = await VersionServiceStub(channel).RegisterVersion(request)
    assert answer.version.number == number
