"""AliasService."""

from __future__ import annotations

from herdbook.v1 import alias_pb2 as pb
from herdbook.v1 import alias_pb2_grpc
from herdbook_server.registry.aliases import AliasRegistry
from herdbook_server.rpc import calls
from herdbook_server.rpc.calls import Context
from herdbook_server.rpc.services.callers import caller
from herdbook_server.rpc.wire import watching
from herdbook_server.rpc.wire.aliases import alias, alias_move
from herdbook_server.rpc.wire.common import expected_version, optional_text
from herdbook_server.watch.hub import Hub


class AliasServicer(alias_pb2_grpc.AliasServiceServicer):
    """Answers for aliases and tells watchers how they move."""

    def __init__(self, aliases: AliasRegistry, hub: Hub) -> None:
        self._aliases = aliases
        self._hub = hub

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.SetAliasResponse:
        change = await self._aliases.set(
            caller(),
            request.model,
            request.alias,
            request.version,
            expected_version=expected_version(request),
            reason=request.reason,
            request_id=optional_text(request.request_id),
        )
        return pb.SetAliasResponse(
            alias=alias(change.alias), previous_version=change.previous_version
        )

    async def RollbackAlias(
        self, request: pb.RollbackAliasRequest, context: Context
    ) -> pb.RollbackAliasResponse:
        change = await self._aliases.rollback(
            caller(),
            request.model,
            request.alias,
            expected_version=expected_version(request),
            reason=request.reason,
            request_id=optional_text(request.request_id),
        )
        return pb.RollbackAliasResponse(
            alias=alias(change.alias), previous_version=change.previous_version
        )

    async def DeleteAlias(
        self, request: pb.DeleteAliasRequest, context: Context
    ) -> pb.DeleteAliasResponse:
        previous_version = await self._aliases.delete(
            caller(),
            request.model,
            request.alias,
            expected_version=expected_version(request),
            reason=request.reason,
            request_id=optional_text(request.request_id),
        )
        return pb.DeleteAliasResponse(previous_version=previous_version)

    async def GetAlias(self, request: pb.GetAliasRequest, context: Context) -> pb.GetAliasResponse:
        return pb.GetAliasResponse(
            alias=alias(await self._aliases.get(request.model, request.alias))
        )

    async def ListAliases(
        self, request: pb.ListAliasesRequest, context: Context
    ) -> pb.ListAliasesResponse:
        page = await self._aliases.list(
            request.model, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListAliasesResponse(
            aliases=map(alias, page.items), next_page_token=page.next_page_token
        )

    async def ListAliasMoves(
        self, request: pb.ListAliasMovesRequest, context: Context
    ) -> pb.ListAliasMovesResponse:
        page = await self._aliases.moves(
            request.model,
            optional_text(request.alias),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListAliasMovesResponse(
            moves=map(alias_move, page.items), next_page_token=page.next_page_token
        )

    async def WatchAliases(  # type: ignore[override] # it writes by itself
        self, request: pb.WatchAliasesRequest, context: Context
    ) -> None:
        call = calls.current()
        subscription = watching.subscription(request)
        # It may list thousands of states, and the watch may last for days.
        del request
        async with self._hub.watching(subscription) as watcher:
            del subscription
            while True:
                update = await watcher.next()
                call.check_caller()
                await call.write(watching.encoded(update))
