"""Calls about versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.field_mask_pb2 import FieldMask

from herdbook.core import wire
from herdbook.core.operations.operation import Listing, Operation, Page, checked, unary
from herdbook.core.references import check_alias, check_label, check_name, parse_reference
from herdbook.core.values import Manifest, Resolution, Stage, StageChange, Version
from herdbook.errors import FieldInvalid
from herdbook.v1 import version_pb2 as pb

_SERVICE = "/herdbook.v1.VersionService"


def _checked(reference: str) -> str:
    parse_reference(reference)
    return reference


@checked
def register_version(
    version: Version,
    *,
    manifest: Manifest | None = None,
    source_uri: str | None = None,
    aliases: Iterable[str],
    reason: str | None,
    request_id: str,
) -> Operation[Version]:
    """Describes the call that makes the next version, from files or from a URI."""
    check_name(version.model)
    if version.label is not None:
        check_label(version.label)
    request = pb.RegisterVersionRequest(
        version=wire.version_to_wire(version),
        source_uri=source_uri or "",
        aliases=[pb.AliasTarget(alias=check_alias(alias)) for alias in aliases],
        reason=reason or "",
        request_id=request_id,
    )
    if manifest is not None:
        request.manifest.CopyFrom(wire.manifest_to_wire(manifest))
    return unary(
        f"{_SERVICE}/RegisterVersion",
        request,
        pb.RegisterVersionResponse,
        lambda response: wire.version(response.version),
    )


@checked
def get_version(reference: str, *, show_deleted: bool) -> Operation[Version]:
    """Describes the call that reads one version."""
    return unary(
        f"{_SERVICE}/GetVersion",
        pb.GetVersionRequest(reference=_checked(reference), show_deleted=show_deleted),
        pb.GetVersionResponse,
        lambda response: wire.version(response.version),
    )


@checked
def resolve(reference: str) -> Operation[Resolution]:
    """Describes the call that tells which version a reference names."""
    return unary(
        f"{_SERVICE}/ResolveReference",
        pb.ResolveReferenceRequest(reference=_checked(reference)),
        pb.ResolveReferenceResponse,
        lambda response: wire.resolution(response.resolution),
    )


@checked
def list_versions(
    model: str | None,
    *,
    filter: str | None,
    order_by: str | None,
    show_deleted: bool,
    page_size: int,
) -> Listing[Version]:
    """Describes the calls that find versions."""
    if model is not None:
        check_name(model)

    def page(page_token: str) -> Operation[Page[Version]]:
        return unary(
            f"{_SERVICE}/ListVersions",
            pb.ListVersionsRequest(
                model=model or "",
                filter=filter or "",
                order_by=order_by or "",
                show_deleted=show_deleted,
                page_size=page_size,
                page_token=page_token,
            ),
            pb.ListVersionsResponse,
            lambda response: Page(
                tuple(map(wire.version, response.versions)), response.next_page_token
            ),
        )

    return Listing(page)


@checked
def update_version(
    reference: str,
    *,
    description: str | None,
    label: str | None,
    expect_revision: int | None,
    reason: str | None,
) -> Operation[Version]:
    """Describes the call that changes a version."""
    changes = {"description": description, "label": label}
    if label is not None:
        check_label(label)
    return unary(
        f"{_SERVICE}/UpdateVersion",
        pb.UpdateVersionRequest(
            reference=_checked(reference),
            version=pb.Version(description=description or "", label=label or ""),
            update_mask=FieldMask(paths=[name for name, new in changes.items() if new is not None]),
            expected_revision=expect_revision or 0,
            reason=reason or "",
        ),
        pb.UpdateVersionResponse,
        lambda response: wire.version(response.version),
        repeatable=expect_revision is None,
    )


@checked
def update_version_tags(
    reference: str, *, set_tags: Mapping[str, str], delete_tags: Iterable[str], reason: str | None
) -> Operation[Version]:
    """Describes the call that sets and deletes tags of a version."""
    return unary(
        f"{_SERVICE}/UpdateVersionTags",
        pb.UpdateVersionTagsRequest(
            reference=_checked(reference),
            set_tags=set_tags,
            delete_tags=delete_tags,
            reason=reason or "",
        ),
        pb.UpdateVersionTagsResponse,
        lambda response: wire.version(response.version),
    )


@checked
def set_stage(
    reference: str, stage: Stage | str, *, archive_existing: bool, reason: str | None
) -> Operation[StageChange]:
    """Describes the call that moves a version to a stage."""
    return unary(
        f"{_SERVICE}/SetStage",
        pb.SetStageRequest(
            reference=_checked(reference),
            stage=wire.stage_to_wire(_stage(stage)),
            archive_existing=archive_existing,
            reason=reason or "",
        ),
        pb.SetStageResponse,
        lambda response: StageChange(
            wire.version(response.version), tuple(response.archived_versions)
        ),
        # A repetition would not tell again which versions were archived.
        repeatable=not archive_existing,
    )


def _stage(stage: Stage | str) -> Stage:
    try:
        return Stage(stage.lower())
    except ValueError:
        choices = ", ".join(Stage)
        raise FieldInvalid(f"{stage!r} is no stage; choose from {choices}.") from None


@checked
def delete_version(reference: str, *, force: bool, reason: str | None) -> Operation[Version]:
    """Describes the call that marks a version deleted."""
    return unary(
        f"{_SERVICE}/DeleteVersion",
        pb.DeleteVersionRequest(reference=_checked(reference), force=force, reason=reason or ""),
        pb.DeleteVersionResponse,
        lambda response: wire.version(response.version),
    )


@checked
def restore_version(reference: str, *, reason: str | None) -> Operation[Version]:
    """Describes the call that undoes a deletion."""
    return unary(
        f"{_SERVICE}/RestoreVersion",
        pb.RestoreVersionRequest(reference=_checked(reference), reason=reason or ""),
        pb.RestoreVersionResponse,
        lambda response: wire.version(response.version),
    )
