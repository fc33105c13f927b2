"""Unary calls about chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from herdbook.core import wire
from herdbook.core.operations.operation import Listing, Operation, Page, checked, unary
from herdbook.core.references import check_name
from herdbook.core.values import GarbageReport, LostChunk, VerificationReport
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


@dataclass(frozen=True, slots=True)
class Verified:
    """A part of a verification."""

    report: VerificationReport

    total_bytes: int
    """How many bytes there are to read in all; on the first part, else 0."""


def verify_chunks(reference: str | None) -> Listing[Verified]:
    """Describes the calls that verify stored chunks, one for each part of them."""

    def make(page_token: str) -> Operation[Page[Verified]]:
        return unary(
            f"{_SERVICE}/VerifyChunks",
            pb.VerifyChunksRequest(reference=reference or "", page_token=page_token),
            pb.VerifyChunksResponse,
            lambda response: Page((_verified(response),), response.next_page_token),
        )

    return Listing(make)


def _verified(response: pb.VerifyChunksResponse) -> Verified:
    lost = tuple(
        LostChunk(chunk.sha256.hex(), chunk.size_bytes, tuple(chunk.versions))
        for chunk in response.lost
    )
    report = VerificationReport(response.checked_count, response.checked_bytes, lost)
    return Verified(report, response.total_bytes)


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
