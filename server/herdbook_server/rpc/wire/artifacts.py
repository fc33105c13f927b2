"""Files and chunks on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from herdbook.v1 import artifact_pb2, manifest_pb2
from herdbook_server.artifacts.direct import Signed
from herdbook_server.artifacts.downloads import FilePiece, ManifestPart
from herdbook_server.artifacts.limits import CHUNK_MAX_BYTES
from herdbook_server.artifacts.manifests import MANIFEST_MAX_CHUNKS, MANIFEST_MAX_FILES
from herdbook_server.artifacts.verifying import LostChunk, Place, Verified
from herdbook_server.errors import FieldInvalid
from herdbook_server.ports.direct import SignedRequest
from herdbook_server.ports.queries import Position
from herdbook_server.ports.values import ChunkRef, File
from herdbook_server.registry.pages import token_refused
from herdbook_server.registry.rules import refuse
from herdbook_server.rpc.wire.common import digest_text, timestamp

MESSAGE_MAX_BYTES = 5 * 512 * 1024
"""Data of an upload that one message carries."""


def file(value: File) -> manifest_pb2.File:
    """Return a file as a message."""
    chunks = [
        manifest_pb2.ChunkRef(sha256=chunk.digest, size_bytes=chunk.size_bytes)
        for chunk in value.chunks
    ]
    return manifest_pb2.File(path=value.path, chunks=chunks)


def files(message: manifest_pb2.Manifest) -> tuple[File, ...]:
    """Return the files that a manifest lists.

    Of one that lists too many files or chunks, enough for that to be seen.
    """
    room = MANIFEST_MAX_CHUNKS + 1
    listed = []
    for entry in message.files[: MANIFEST_MAX_FILES + 1]:
        chunks = tuple(ChunkRef(chunk.sha256, chunk.size_bytes) for chunk in entry.chunks[:room])
        room -= len(chunks)
        listed.append(File(entry.path, chunks))
    return tuple(listed)


def chunks(pairs: Iterable[tuple[bytes, bytes]]) -> list[artifact_pb2.Chunk]:
    """Return digests and bytes as messages."""
    return [artifact_pb2.Chunk(sha256=digest, data=data) for digest, data in pairs]


async def batches(
    first: artifact_pb2.UploadChunksRequest,
    following: AsyncIterator[artifact_pb2.UploadChunksRequest],
) -> AsyncIterator[Sequence[tuple[bytes, bytes]]]:
    """Yield digests and bytes of an upload.

    Raises:
        FieldInvalid: A later message names another model, or one carries too much.
    """
    yield _pairs(first)
    async for message in following:
        if message.model not in {"", first.model}:
            raise refuse(FieldInvalid, "model", "One upload is for one model.")
        yield _pairs(message)


async def pieces(
    first: artifact_pb2.WriteFileRequest, following: AsyncIterator[artifact_pb2.WriteFileRequest]
) -> AsyncIterator[bytes]:
    """Yield the bytes of a file being written.

    Raises:
        FieldInvalid: A message carries too many.
    """
    yield _piece(first)
    async for message in following:
        yield _piece(message)


def manifest_part(part: ManifestPart) -> artifact_pb2.GetManifestResponse:
    """Return a part of a manifest as a message; the first one says of which version."""
    message = artifact_pb2.GetManifestResponse(files=map(file, part.files))
    if part.first:
        message.model = part.version.model
        message.version = part.version.version
        message.digest = digest_text(part.digest)
    return message


def refs(messages: Iterable[manifest_pb2.ChunkRef]) -> list[ChunkRef]:
    """Return the chunks that messages name."""
    return [ChunkRef(message.sha256, message.size_bytes) for message in messages]


def signed_downloads(value: Signed) -> artifact_pb2.SignDownloadsResponse:
    """Return the requests that fetch chunks as a message."""
    return artifact_pb2.SignDownloadsResponse(
        requests=map(_signed_request, value.requests), expire_time=timestamp(value.expire_at_us)
    )


def signed_uploads(value: Signed) -> artifact_pb2.SignUploadsResponse:
    """Return the requests that bring chunks as a message."""
    return artifact_pb2.SignUploadsResponse(
        requests=map(_signed_request, value.requests),
        expire_time=timestamp(value.expire_at_us),
        proof=value.proof,
    )


def _signed_request(value: SignedRequest) -> artifact_pb2.SignedRequest:
    return artifact_pb2.SignedRequest(method=value.method, url=value.url, headers=value.headers)


def file_piece(piece: FilePiece) -> artifact_pb2.ReadFileResponse:
    """Return a piece of a file as a message; the first one says of which file."""
    message = artifact_pb2.ReadFileResponse(data=piece.data)
    if piece.first:
        message.version = piece.version
        message.size_bytes = piece.size_bytes
    return message


def grace_seconds(request: artifact_pb2.CollectGarbageRequest) -> float | None:
    """Return the grace time that a request asks for."""
    if not request.HasField("grace"):
        return None
    return request.grace.seconds + request.grace.nanos / 1e9


def _piece(message: artifact_pb2.WriteFileRequest) -> bytes:
    if len(message.data) > CHUNK_MAX_BYTES:
        raise refuse(FieldInvalid, "data", f"A message carries {CHUNK_MAX_BYTES} bytes at most.")
    return message.data


def _pairs(message: artifact_pb2.UploadChunksRequest) -> list[tuple[bytes, bytes]]:
    size_bytes = sum(len(chunk.data) for chunk in message.chunks)
    if size_bytes > MESSAGE_MAX_BYTES and len(message.chunks) > 1:
        raise refuse(
            FieldInvalid, "chunks", f"A message carries {MESSAGE_MAX_BYTES} bytes of data at most."
        )
    return [(chunk.sha256, chunk.data) for chunk in message.chunks]


def verified(value: Verified, *, next_page_token: str) -> artifact_pb2.VerifyChunksResponse:
    """Return what a page of verifying found as a message."""
    count, size_bytes = value.total or (0, 0)
    return artifact_pb2.VerifyChunksResponse(
        checked_count=len(value.checked),
        checked_bytes=sum(ref.size_bytes for ref in value.checked),
        total_count=count,
        total_bytes=size_bytes,
        lost=map(_lost, value.lost),
        next_page_token=next_page_token,
    )


def _lost(value: LostChunk) -> artifact_pb2.LostChunk:
    return artifact_pb2.LostChunk(
        sha256=value.ref.digest,
        size_bytes=value.ref.size_bytes,
        versions=[f"{model}:{number}" for model, number in value.versions],
    )


def place(position: Position | None) -> Place | None:
    """Return how far verifying has come.

    Raises:
        PageTokenInvalid: The position is no such thing.
    """
    match position:
        case None:
            return None
        case (str(manifest), str(after)):
            return Place(bytes.fromhex(manifest) or None, bytes.fromhex(after))
        case _:
            raise token_refused()


def position_of(place: Place | None) -> Position | None:
    """Return the position that `place` reads."""
    return None if place is None else ((place.manifest or b"").hex(), place.after.hex())
