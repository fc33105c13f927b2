"""Unary calls about chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from herdbook.core import wire
from herdbook.core.operations.operation import Listing, Operation, Page, checked, unary
from herdbook.core.references import check_name
from herdbook.core.values import GarbageReport, LostChunk, VerificationReport
from herdbook.v1 import artifact_pb2 as pb
from herdbook.v1.manifest_pb2 import ChunkRef

_SERVICE = "/herdbook.v1.ArtifactService"

UPLOAD_CHUNKS = f"{_SERVICE}/UploadChunks"
DOWNLOAD_CHUNKS = f"{_SERVICE}/DownloadChunks"
GET_MANIFEST = f"{_SERVICE}/GetManifest"


@dataclass(frozen=True, slots=True)
class Missing:
    """What a model does not have."""

    digests: frozenset[bytes]

    direct: bool
    """Whether it may be brought to the chunk store past the server."""


@checked
def find_missing_chunks(model: str, digests: Iterable[bytes]) -> Operation[Missing]:
    """Describes the call that tells which chunks a model does not have yet."""
    return unary(
        f"{_SERVICE}/FindMissingChunks",
        pb.FindMissingChunksRequest(model=check_name(model), sha256=digests),
        pb.FindMissingChunksResponse,
        lambda response: Missing(frozenset(response.missing_sha256), response.direct),
    )


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request to the chunk store that may be made without credentials."""

    method: str
    url: str
    headers: Mapping[str, str]


@checked
def sign_downloads(
    model: str, version: int, digests: Iterable[bytes]
) -> Operation[tuple[SignedRequest, ...]]:
    """Describes the call that gives the requests that fetch chunks, in their order."""
    return unary(
        f"{_SERVICE}/SignDownloads",
        pb.SignDownloadsRequest(model=model, version=version, sha256=digests),
        pb.SignDownloadsResponse,
        lambda response: tuple(map(_signed, response.requests)),
    )


@dataclass(frozen=True, slots=True)
class SignedUploads:
    """The requests that bring chunks, by SHA-256, and what shows afterwards who made them."""

    requests: Mapping[bytes, SignedRequest]
    proof: str


@checked
def sign_uploads(model: str, sizes: Mapping[bytes, int]) -> Operation[SignedUploads]:
    """Describes the call that gives the requests that bring chunks."""
    return unary(
        f"{_SERVICE}/SignUploads",
        pb.SignUploadsRequest(model=model, chunks=_refs(sizes)),
        pb.SignUploadsResponse,
        lambda response: SignedUploads(
            dict(zip(sizes, map(_signed, response.requests), strict=False)), response.proof
        ),
    )


@checked
def confirm_uploads(
    model: str, sizes: Mapping[bytes, int], proof: str
) -> Operation[frozenset[bytes]]:
    """Describes the call that verifies what was brought, and tells what is present then."""
    return unary(
        f"{_SERVICE}/ConfirmUploads",
        pb.ConfirmUploadsRequest(model=model, chunks=_refs(sizes), proof=proof),
        pb.ConfirmUploadsResponse,
        lambda response: frozenset(response.sha256),
    )


def _signed(message: pb.SignedRequest) -> SignedRequest:
    return SignedRequest(message.method, message.url, dict(message.headers))


def _refs(sizes: Mapping[bytes, int]) -> list[ChunkRef]:
    return [ChunkRef(sha256=sha256, size_bytes=size) for sha256, size in sizes.items()]


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
        lambda response: GarbageReport(
            response.chunk_count,
            response.size_bytes,
            response.deleted,
            response.purged_version_count,
        ),
        # The repetition of one that took effect would report nothing.
        repeatable=not apply,
    )
