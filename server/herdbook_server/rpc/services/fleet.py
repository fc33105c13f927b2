"""FleetService."""

from __future__ import annotations

from herdbook.v1 import fleet_pb2 as pb
from herdbook.v1 import fleet_pb2_grpc
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.values import ReplicaReport
from herdbook_server.registry.pages import Listing, cut, page_limit
from herdbook_server.registry.sizes import fitting
from herdbook_server.rpc.calls import Context
from herdbook_server.rpc.wire import watching
from herdbook_server.rpc.wire.common import optional_text
from herdbook_server.watch.fleet import Fleet


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """Takes reports of replicas and tells how far a reference has reached them."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock

    async def ReportReplica(
        self, request: pb.ReportReplicaRequest, context: Context
    ) -> pb.ReportReplicaResponse:
        await self._fleet.report(
            watching.reported(request.report, reported_at_us=self._clock.now_us())
        )
        return pb.ReportReplicaResponse()

    async def GetConvergence(
        self, request: pb.GetConvergenceRequest, context: Context
    ) -> pb.GetConvergenceResponse:
        return watching.convergence(await self._fleet.convergence(request.reference))

    async def ListReplicas(
        self, request: pb.ListReplicasRequest, context: Context
    ) -> pb.ListReplicasResponse:
        listing = Listing("replicas", (request.reference,))
        limit = page_limit(request.page_size)
        rows = await self._fleet.replicas(
            optional_text(request.reference),
            after=watching.replica_position(listing.position(request.page_token)),
            limit=limit + 1,
        )
        fit, _ = fitting(rows[:limit], _size_bytes)
        reports, last = cut(rows, fit)
        return pb.ListReplicasResponse(
            reports=map(watching.report, reports),
            next_page_token=listing.token(
                None if last is None else (last.replica_id, last.reference)
            ),
        )


def _size_bytes(report: ReplicaReport) -> int:
    return watching.report(report).ByteSize()
