"""EventService."""

from __future__ import annotations

from herdbook.v1 import event_pb2 as pb
from herdbook.v1 import event_pb2_grpc
from herdbook_server.registry.events import EventLog
from herdbook_server.rpc.calls import Context
from herdbook_server.rpc.wire.common import optional_text
from herdbook_server.rpc.wire.events import event


class EventServicer(event_pb2_grpc.EventServiceServicer):
    """Answers for the record of changes."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        page = await self._events.search(
            after_revision=request.after_revision,
            model=optional_text(request.model),
            filter=request.filter,
            descending=request.descending,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListEventsResponse(
            events=map(event, page.items),
            next_page_token=page.next_page_token,
            revision=page.revision,
        )
