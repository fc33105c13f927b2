"""VersionService."""

from __future__ import annotations

import asyncio

from herdbook.v1 import version_pb2 as pb
from herdbook.v1 import version_pb2_grpc
from herdbook_server.registry.stages import StageRegistry
from herdbook_server.registry.versions import VersionRegistry
from herdbook_server.rpc import calls
from herdbook_server.rpc.calls import Context
from herdbook_server.rpc.services.callers import caller
from herdbook_server.rpc.wire.common import masked, optional_revision, optional_text, resolution
from herdbook_server.rpc.wire.versions import listed_version, registration, stage, version

LARGE_BYTES = 256 * 1024
"""A request of that size is converted in a thread."""


class VersionServicer(version_pb2_grpc.VersionServiceServicer):
    """Answers for versions and their stages."""

    def __init__(self, versions: VersionRegistry, stages: StageRegistry) -> None:
        self._versions = versions
        self._stages = stages

    async def RegisterVersion(
        self, request: pb.RegisterVersionRequest, context: Context
    ) -> pb.RegisterVersionResponse:
        # A large manifest takes a while, in which others are to be answered.
        large = calls.current().received_bytes > LARGE_BYTES
        asked = await asyncio.to_thread(registration, request) if large else registration(request)
        registered = await self._versions.register(caller(), asked)
        return pb.RegisterVersionResponse(version=version(registered))

    async def GetVersion(
        self, request: pb.GetVersionRequest, context: Context
    ) -> pb.GetVersionResponse:
        found = await self._versions.get(request.reference, show_deleted=request.show_deleted)
        return pb.GetVersionResponse(version=version(found))

    async def ResolveReference(
        self, request: pb.ResolveReferenceRequest, context: Context
    ) -> pb.ResolveReferenceResponse:
        named = await self._versions.resolve(request.reference)
        return pb.ResolveReferenceResponse(resolution=resolution(named))

    async def ListVersions(
        self, request: pb.ListVersionsRequest, context: Context
    ) -> pb.ListVersionsResponse:
        page = await self._versions.search(
            model=optional_text(request.model),
            filter=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
            show_deleted=request.show_deleted,
        )
        return pb.ListVersionsResponse(
            versions=map(listed_version, page.items), next_page_token=page.next_page_token
        )

    async def UpdateVersion(
        self, request: pb.UpdateVersionRequest, context: Context
    ) -> pb.UpdateVersionResponse:
        fields = masked(request.update_mask, ("description", "label"))
        updated = await self._versions.update(
            caller(),
            request.reference,
            description=request.version.description if "description" in fields else None,
            label=request.version.label if "label" in fields else None,
            expected_revision=optional_revision(request.expected_revision),
            reason=request.reason,
        )
        return pb.UpdateVersionResponse(version=version(updated))

    async def UpdateVersionTags(
        self, request: pb.UpdateVersionTagsRequest, context: Context
    ) -> pb.UpdateVersionTagsResponse:
        updated = await self._versions.update_tags(
            caller(),
            request.reference,
            set_tags=dict(request.set_tags),
            delete_tags=tuple(request.delete_tags),
            reason=request.reason,
        )
        return pb.UpdateVersionTagsResponse(version=version(updated))

    async def SetStage(self, request: pb.SetStageRequest, context: Context) -> pb.SetStageResponse:
        change = await self._stages.set(
            caller(),
            request.reference,
            stage(request.stage),
            archive_existing=request.archive_existing,
            reason=request.reason,
        )
        return pb.SetStageResponse(
            version=version(change.version), archived_versions=change.archived
        )

    async def DeleteVersion(
        self, request: pb.DeleteVersionRequest, context: Context
    ) -> pb.DeleteVersionResponse:
        deleted = await self._versions.delete(
            caller(), request.reference, force=request.force, reason=request.reason
        )
        return pb.DeleteVersionResponse(version=version(deleted))

    async def RestoreVersion(
        self, request: pb.RestoreVersionRequest, context: Context
    ) -> pb.RestoreVersionResponse:
        restored = await self._versions.restore(caller(), request.reference, reason=request.reason)
        return pb.RestoreVersionResponse(version=version(restored))
