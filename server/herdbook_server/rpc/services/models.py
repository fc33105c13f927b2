"""ModelService."""

from __future__ import annotations

from herdbook.v1 import model_pb2 as pb
from herdbook.v1 import model_pb2_grpc
from herdbook_server.registry.models import ModelRegistry
from herdbook_server.rpc.calls import Context
from herdbook_server.rpc.services.callers import caller
from herdbook_server.rpc.wire.common import masked, optional_revision, optional_text
from herdbook_server.rpc.wire.models import model


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Answers for models."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    async def CreateModel(
        self, request: pb.CreateModelRequest, context: Context
    ) -> pb.CreateModelResponse:
        created = await self._models.create(
            caller(),
            request.model.name,
            description=request.model.description,
            tags=dict(request.model.tags),
            reason=request.reason,
            request_id=optional_text(request.request_id),
        )
        return pb.CreateModelResponse(model=model(created))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        found = await self._models.get(request.model, show_deleted=request.show_deleted)
        return pb.GetModelResponse(model=model(found))

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        page = await self._models.search(
            filter=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
            show_deleted=request.show_deleted,
        )
        return pb.ListModelsResponse(
            models=map(model, page.items), next_page_token=page.next_page_token
        )

    async def UpdateModel(
        self, request: pb.UpdateModelRequest, context: Context
    ) -> pb.UpdateModelResponse:
        masked(request.update_mask, ("description",))
        updated = await self._models.update(
            caller(),
            request.model.name,
            description=request.model.description,
            expected_revision=optional_revision(request.expected_revision),
            reason=request.reason,
        )
        return pb.UpdateModelResponse(model=model(updated))

    async def UpdateModelTags(
        self, request: pb.UpdateModelTagsRequest, context: Context
    ) -> pb.UpdateModelTagsResponse:
        updated = await self._models.update_tags(
            caller(),
            request.model,
            set_tags=dict(request.set_tags),
            delete_tags=tuple(request.delete_tags),
            reason=request.reason,
        )
        return pb.UpdateModelTagsResponse(model=model(updated))

    async def DeleteModel(
        self, request: pb.DeleteModelRequest, context: Context
    ) -> pb.DeleteModelResponse:
        deleted = await self._models.delete(
            caller(), request.model, force=request.force, reason=request.reason
        )
        return pb.DeleteModelResponse(model=model(deleted))

    async def RestoreModel(
        self, request: pb.RestoreModelRequest, context: Context
    ) -> pb.RestoreModelResponse:
        restored = await self._models.restore(caller(), request.model, reason=request.reason)
        return pb.RestoreModelResponse(model=model(restored))
