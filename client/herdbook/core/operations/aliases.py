"""Calls about aliases."""

from __future__ import annotations

from herdbook.core import wire
from herdbook.core.operations.operation import Listing, Operation, Page, checked, unary
from herdbook.core.references import check_alias, check_name
from herdbook.core.values import Alias, AliasMove
from herdbook.v1 import alias_pb2 as pb

_SERVICE = "/herdbook.v1.AliasService"


@checked
def set_alias(
    model: str,
    alias: str,
    version: int,
    *,
    expect: int | None,
    reason: str | None,
    request_id: str,
) -> Operation[Alias]:
    """Describes the call that points an alias at a version."""
    return unary(
        f"{_SERVICE}/SetAlias",
        pb.SetAliasRequest(
            model=check_name(model),
            alias=check_alias(alias),
            version=version,
            expected_version=expect,
            reason=reason or "",
            request_id=request_id,
        ),
        pb.SetAliasResponse,
        lambda response: wire.alias(response.alias, previous_version=response.previous_version),
    )


@checked
def rollback_alias(
    model: str, alias: str, *, expect: int | None, reason: str | None, request_id: str
) -> Operation[Alias]:
    """Describes the call that points an alias back at the version before."""
    return unary(
        f"{_SERVICE}/RollbackAlias",
        pb.RollbackAliasRequest(
            model=check_name(model),
            alias=check_alias(alias),
            expected_version=expect,
            reason=reason or "",
            request_id=request_id,
        ),
        pb.RollbackAliasResponse,
        lambda response: wire.alias(response.alias, previous_version=response.previous_version),
    )


@checked
def delete_alias(
    model: str, alias: str, *, expect: int | None, reason: str | None, request_id: str
) -> Operation[int]:
    """Describes the call that deletes an alias."""
    return unary(
        f"{_SERVICE}/DeleteAlias",
        pb.DeleteAliasRequest(
            model=check_name(model),
            alias=check_alias(alias),
            expected_version=expect,
            reason=reason or "",
            request_id=request_id,
        ),
        pb.DeleteAliasResponse,
        lambda response: response.previous_version,
    )


@checked
def list_aliases(model: str, *, page_size: int) -> Listing[Alias]:
    """Describes the calls that list the aliases of a model."""
    check_name(model)

    def page(page_token: str) -> Operation[Page[Alias]]:
        return unary(
            f"{_SERVICE}/ListAliases",
            pb.ListAliasesRequest(model=model, page_size=page_size, page_token=page_token),
            pb.ListAliasesResponse,
            lambda response: Page(
                tuple(map(wire.alias, response.aliases)), response.next_page_token
            ),
        )

    return Listing(page)


@checked
def alias_history(model: str, alias: str | None, *, page_size: int) -> Listing[AliasMove]:
    """Describes the calls that list the moves of an alias."""
    check_name(model)
    if alias is not None:
        check_alias(alias)

    def page(page_token: str) -> Operation[Page[AliasMove]]:
        return unary(
            f"{_SERVICE}/ListAliasMoves",
            pb.ListAliasMovesRequest(
                model=model, alias=alias or "", page_size=page_size, page_token=page_token
            ),
            pb.ListAliasMovesResponse,
            lambda response: Page(
                tuple(map(wire.alias_move, response.moves)), response.next_page_token
            ),
        )

    return Listing(page)
