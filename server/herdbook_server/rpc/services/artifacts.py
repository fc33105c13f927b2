"""ArtifactService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from herdbook.v1 import artifact_pb2 as pb
from herdbook.v1 import artifact_pb2_grpc
from herdbook_server.artifacts.direct import DirectTransfers
from herdbook_server.artifacts.downloads import Downloads
from herdbook_server.artifacts.garbage import GarbageCollector
from herdbook_server.artifacts.uploads import Uploads
from herdbook_server.artifacts.verifying import Verifier
from herdbook_server.registry.pages import Listing
from herdbook_server.rpc.calls import Context
from herdbook_server.rpc.services.callers import caller
from herdbook_server.rpc.wire import artifacts as wire
from herdbook_server.rpc.wire.common import optional_text


class ArtifactServicer(artifact_pb2_grpc.ArtifactServiceServicer):
    """Moves bytes up and down."""

    def __init__(
        self,
        *,
        uploads: Uploads,
        downloads: Downloads,
        direct: DirectTransfers,
        garbage_collector: GarbageCollector,
        verifier: Verifier,
    ) -> None:
        self._uploads = uploads
        self._downloads = downloads
        self._direct = direct
        self._garbage_collector = garbage_collector
        self._verifier = verifier

    async def FindMissingChunks(
        self, request: pb.FindMissingChunksRequest, context: Context
    ) -> pb.FindMissingChunksResponse:
        missing = await self._uploads.find_missing(request.model, request.sha256)
        return pb.FindMissingChunksResponse(
            missing_sha256=missing, direct=self._direct.takes_uploads
        )

    async def UploadChunks(
        self, request_iterator: AsyncIterator[pb.UploadChunksRequest], context: Context
    ) -> pb.UploadChunksResponse:
        first = await anext(request_iterator, pb.UploadChunksRequest())
        received = await self._uploads.upload(first.model, wire.batches(first, request_iterator))
        return pb.UploadChunksResponse(
            chunk_count=received.chunk_count, size_bytes=received.size_bytes
        )

    async def WriteFile(
        self, request_iterator: AsyncIterator[pb.WriteFileRequest], context: Context
    ) -> pb.WriteFileResponse:
        first = await anext(request_iterator, pb.WriteFileRequest())
        written = await self._uploads.write_file(
            first.model, first.path, wire.pieces(first, request_iterator)
        )
        return pb.WriteFileResponse(file=wire.file(written), size_bytes=written.size_bytes)

    async def GetManifest(
        self, request: pb.GetManifestRequest, context: Context
    ) -> AsyncIterator[pb.GetManifestResponse]:
        async with aclosing(self._downloads.manifest(request.reference)) as parts:
            async for part in parts:
                # A part lists up to 65,536 chunks.
                message = await asyncio.to_thread(wire.manifest_part, part)
                message.direct = part.first and self._direct.gives_downloads
                yield message

    async def DownloadChunks(
        self, request: pb.DownloadChunksRequest, context: Context
    ) -> AsyncIterator[pb.DownloadChunksResponse]:
        chunks = self._downloads.download(
            request.model, request.version, request.sha256, verify=request.verify
        )
        async with aclosing(chunks) as batches:
            async for batch in batches:
                yield pb.DownloadChunksResponse(chunks=wire.chunks(batch))

    async def SignDownloads(
        self, request: pb.SignDownloadsRequest, context: Context
    ) -> pb.SignDownloadsResponse:
        signed = await self._direct.sign_downloads(request.model, request.version, request.sha256)
        return wire.signed_downloads(signed)

    async def SignUploads(
        self, request: pb.SignUploadsRequest, context: Context
    ) -> pb.SignUploadsResponse:
        signed = await self._direct.sign_uploads(request.model, wire.refs(request.chunks))
        return wire.signed_uploads(signed)

    async def ConfirmUploads(
        self, request: pb.ConfirmUploadsRequest, context: Context
    ) -> pb.ConfirmUploadsResponse:
        confirmed = await self._direct.confirm(
            request.model, wire.refs(request.chunks), request.proof
        )
        return pb.ConfirmUploadsResponse(sha256=confirmed)

    async def ReadFile(
        self, request: pb.ReadFileRequest, context: Context
    ) -> AsyncIterator[pb.ReadFileResponse]:
        contents = self._downloads.read_file(
            request.reference, request.path, offset=request.offset, limit=request.limit
        )
        async with aclosing(contents) as pieces:
            async for piece in pieces:
                yield wire.file_piece(piece)

    async def CollectGarbage(
        self, request: pb.CollectGarbageRequest, context: Context
    ) -> pb.CollectGarbageResponse:
        collected = await self._garbage_collector.collect(
            apply=request.apply, grace_seconds=wire.grace_seconds(request), caller=caller()
        )
        return pb.CollectGarbageResponse(
            chunk_count=collected.chunk_count,
            size_bytes=collected.size_bytes,
            deleted=collected.deleted,
            purged_version_count=collected.purged_version_count,
        )

    async def VerifyChunks(
        self, request: pb.VerifyChunksRequest, context: Context
    ) -> pb.VerifyChunksResponse:
        listing = Listing("verified chunks", (request.reference,))
        verified = await self._verifier.verify(
            optional_text(request.reference), wire.place(listing.position(request.page_token))
        )
        return wire.verified(
            verified, next_page_token=listing.token(wire.position_of(verified.next))
        )
