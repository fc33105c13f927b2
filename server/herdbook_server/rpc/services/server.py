"""ServerService."""

from __future__ import annotations

from importlib.metadata import version

from herdbook.v1 import server_pb2 as pb
from herdbook.v1 import server_pb2_grpc
from herdbook_server.artifacts.limits import CHUNK_MAX_BYTES
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.rpc import calls
from herdbook_server.rpc.calls import Context
from herdbook_server.rpc.wire.common import timestamp


class ServerServicer(server_pb2_grpc.ServerServiceServicer):
    """Tells what server this is."""

    def __init__(self, database: Database, clock: Clock, *, chunk_store: str) -> None:
        self._database = database
        self._clock = clock
        self._chunk_store = chunk_store
        self._software_version = version("herdbook")

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            software_version=self._software_version,
            database=self._database.engine,
            chunk_store=self._chunk_store,
            revision=await self._database.revision(),
            time=timestamp(self._clock.now_us()),
            actor=calls.current().actor,
            max_chunk_bytes=CHUNK_MAX_BYTES,
        )
