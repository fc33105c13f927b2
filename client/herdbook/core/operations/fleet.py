"""Calls about replicas, events and the server."""

from __future__ import annotations

from herdbook.core import wire
from herdbook.core.operations.operation import Listing, Operation, Page, checked, unary
from herdbook.core.references import check_name, parse_reference
from herdbook.core.values import Convergence, Event, ReplicaReport, ServerInfo
from herdbook.v1 import event_pb2, server_pb2
from herdbook.v1 import fleet_pb2 as pb

_SERVICE = "/herdbook.v1.FleetService"


@checked
def report_replica(report: ReplicaReport) -> Operation[None]:
    """Describes the call that says what a replica does."""
    return unary(
        f"{_SERVICE}/ReportReplica",
        pb.ReportReplicaRequest(report=wire.replica_report_to_wire(report)),
        pb.ReportReplicaResponse,
        lambda _: None,
    )


@checked
def get_convergence(reference: str) -> Operation[Convergence]:
    """Describes the call that tells how far a reference has reached the fleet."""
    parse_reference(reference)
    return unary(
        f"{_SERVICE}/GetConvergence",
        pb.GetConvergenceRequest(reference=reference),
        pb.GetConvergenceResponse,
        lambda response: wire.convergence(reference, response),
    )


@checked
def list_replicas(reference: str | None, *, page_size: int) -> Listing[ReplicaReport]:
    """Describes the calls that list live replicas."""
    if reference is not None:
        parse_reference(reference)

    def page(page_token: str) -> Operation[Page[ReplicaReport]]:
        return unary(
            f"{_SERVICE}/ListReplicas",
            pb.ListReplicasRequest(
                reference=reference or "", page_size=page_size, page_token=page_token
            ),
            pb.ListReplicasResponse,
            lambda response: Page(
                tuple(map(wire.replica_report, response.reports)), response.next_page_token
            ),
        )

    return Listing(page)


@checked
def list_events(
    model: str | None,
    *,
    after_revision: int,
    filter: str | None,
    descending: bool,
    page_size: int,
) -> Listing[Event]:
    """Describes the calls that list events."""
    if model is not None:
        check_name(model)

    def page(page_token: str) -> Operation[Page[Event]]:
        return unary(
            "/herdbook.v1.EventService/ListEvents",
            event_pb2.ListEventsRequest(
                model=model or "",
                after_revision=after_revision,
                filter=filter or "",
                descending=descending,
                page_size=page_size,
                page_token=page_token,
            ),
            event_pb2.ListEventsResponse,
            lambda response: Page(
                tuple(map(wire.event, response.events)), response.next_page_token
            ),
        )

    return Listing(page)


@checked
def get_server_info() -> Operation[ServerInfo]:
    """Describes the call that asks what server answers."""
    return unary(
        "/herdbook.v1.ServerService/GetServerInfo",
        server_pb2.GetServerInfoRequest(),
        server_pb2.GetServerInfoResponse,
        wire.server_info,
    )
