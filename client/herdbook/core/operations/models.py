"""Calls about models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.field_mask_pb2 import FieldMask

from herdbook.core import wire
from herdbook.core.operations.operation import Listing, Operation, Page, checked, unary
from herdbook.core.references import check_name
from herdbook.core.values import Model
from herdbook.v1 import model_pb2 as pb

_SERVICE = "/herdbook.v1.ModelService"


@checked
def create_model(
    name: str,
    *,
    description: str,
    tags: Mapping[str, str] | None,
    reason: str | None,
    request_id: str,
) -> Operation[Model]:
    """Describes the call that makes an empty model."""
    model = pb.Model(name=check_name(name), description=description, tags=tags or {})
    return unary(
        f"{_SERVICE}/CreateModel",
        pb.CreateModelRequest(model=model, reason=reason or "", request_id=request_id),
        pb.CreateModelResponse,
        lambda response: wire.model(response.model),
    )


@checked
def get_model(name: str, *, show_deleted: bool) -> Operation[Model]:
    """Describes the call that reads one model."""
    return unary(
        f"{_SERVICE}/GetModel",
        pb.GetModelRequest(model=check_name(name), show_deleted=show_deleted),
        pb.GetModelResponse,
        lambda response: wire.model(response.model),
    )


@checked
def list_models(
    *, filter: str | None, order_by: str | None, show_deleted: bool, page_size: int
) -> Listing[Model]:
    """Describes the calls that find models."""

    def page(page_token: str) -> Operation[Page[Model]]:
        return unary(
            f"{_SERVICE}/ListModels",
            pb.ListModelsRequest(
                filter=filter or "",
                order_by=order_by or "",
                show_deleted=show_deleted,
                page_size=page_size,
                page_token=page_token,
            ),
            pb.ListModelsResponse,
            lambda response: Page(
                tuple(map(wire.model, response.models)), response.next_page_token
            ),
        )

    return Listing(page)


@checked
def update_model(
    name: str, *, description: str | None, expect_revision: int | None, reason: str | None
) -> Operation[Model]:
    """Describes the call that changes a model."""
    return unary(
        f"{_SERVICE}/UpdateModel",
        pb.UpdateModelRequest(
            model=pb.Model(name=check_name(name), description=description or ""),
            update_mask=FieldMask(paths=[] if description is None else ["description"]),
            expected_revision=expect_revision or 0,
            reason=reason or "",
        ),
        pb.UpdateModelResponse,
        lambda response: wire.model(response.model),
        repeatable=expect_revision is None,
    )


@checked
def update_model_tags(
    name: str, *, set_tags: Mapping[str, str], delete_tags: Iterable[str], reason: str | None
) -> Operation[Model]:
    """Describes the call that sets and deletes tags of a model."""
    return unary(
        f"{_SERVICE}/UpdateModelTags",
        pb.UpdateModelTagsRequest(
            model=check_name(name),
            set_tags=set_tags,
            delete_tags=delete_tags,
            reason=reason or "",
        ),
        pb.UpdateModelTagsResponse,
        lambda response: wire.model(response.model),
    )


@checked
def delete_model(name: str, *, force: bool, reason: str | None) -> Operation[Model]:
    """Describes the call that marks a model deleted."""
    return unary(
        f"{_SERVICE}/DeleteModel",
        pb.DeleteModelRequest(model=check_name(name), force=force, reason=reason or ""),
        pb.DeleteModelResponse,
        lambda response: wire.model(response.model),
    )


@checked
def restore_model(name: str, *, reason: str | None) -> Operation[Model]:
    """Describes the call that undoes a deletion."""
    return unary(
        f"{_SERVICE}/RestoreModel",
        pb.RestoreModelRequest(model=check_name(name), reason=reason or ""),
        pb.RestoreModelResponse,
        lambda response: wire.model(response.model),
    )
