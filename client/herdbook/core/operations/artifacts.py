"""Unary calls about chunks."""

from __future__ import annotations

from collections.abc import Iterable

from herdbook.core import wire
from herdbook.core.operations.operation import Operation, checked, unary
from herdbook.core.references import check_name
from herdbook.core.values import GarbageReport
from herdbook.v1 import artifact_pb2 as pb

_SERVICE = "/herdbook.v1.ArtifactService"

UPLOAD_CHUNKS = f"{_SERVICE}/UploadChunks"
DOWNLOAD_CHUNKS = f"{_SERVICE}/DownloadChunks"
GET_MANIFEST = f"{_SERVICE}/GetManifest"


@checked
def find_missing_chunks(model: str, digests: Iterable[bytes]) -> Operation[frozenset[bytes]]:
    """Describes the call that tells which chunks a model does not have yet."""
    return unary(
        f"{_SERVICE}/FindMissingChunks",
        pb.FindMissingChunksRequest(model=check_name(model), sha256=digests),
        pb.FindMissingChunksResponse,
        lambda response: frozenset(response.missing_sha256),
    )


@checked
def collect_garbage(*, apply: bool, grace_seconds: float | None) -> Operation[GarbageReport]:
    """Describes the call that deletes chunks that no version lists."""
    request = pb.CollectGarbageRequest(apply=apply)
    if grace_seconds is not None:
        request.grace.CopyFrom(wire.duration(grace_seconds))
    return unary(
        f"{_SERVICE}/CollectGarbage",
        request,
        pb.CollectGarbageResponse,
        lambda response: GarbageReport(response.chunk_count, response.size_bytes, response.deleted),
        # The repetition of one that took effect would report nothing.
        repeatable=not apply,
    )
