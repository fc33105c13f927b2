"""Health, as what the server rests on allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from herdbook_server.errors import Draining, HerdbookError
from herdbook_server.ports.chunks import StoreError, StoreFull
from herdbook_server.rpc.calls import Context

logger = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[object]]

SERVER = ""
"""What a health check asks for that names no service."""

_Request = health_pb2.HealthCheckRequest
_Response = health_pb2.HealthCheckResponse
_SERVING = _Response(status=_Response.SERVING)
_NOT_SERVING = _Response(status=_Response.NOT_SERVING)
_UNKNOWN = _Response(status=_Response.SERVICE_UNKNOWN)


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Tells what is served, and when that changes.

    The servicer that comes with gRPC has no end for watches, which a server that stops would wait
    for. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._answers: dict[str, _Response] = {}
        self._changed = asyncio.Event()
        self._draining = False

    async def Check(self, request: _Request, context: Context) -> _Response:
        answer = self._answers.get(request.service)
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "This server has no such service.")
        return answer

    async def Watch(self, request: _Request, context: Context) -> AsyncIterator[_Response]:
        told = None
        while True:
            changed = self._changed
            answer = self._answers.get(request.service, _UNKNOWN)
            if answer != told:
                told = answer
                yield answer
            elif self._draining:
                raise Draining("This server is shutting down.", retry_after_seconds=1)
            else:
                await changed.wait()

    def set(self, service: str, *, serving: bool) -> None:
        """Say from now on whether a service is served; a server that drains serves nothing."""
        self._answers[service] = _SERVING if serving and not self._draining else _NOT_SERVING
        self._announce()

    def drain(self) -> None:
        """Say that nothing is served, and then end all watches."""
        self._draining = True
        self._answers = dict.fromkeys(self._answers, _NOT_SERVING)
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Health:
    """Asks at intervals whether the database and the chunk store answer.

    Without the database no service serves. Without the chunk store only the service of artifacts
    does not: resolving and watching go on, and a load balancer must not take that away.
    """

    def __init__(
        self,
        *,
        database: Probe,
        chunk_store: Probe,
        services: Iterable[str],
        artifact_service: str,
        interval_seconds: float,
        timeout_seconds: float = 5.0,
    ) -> None:
        self.servicer = HealthServicer()
        self._database = database
        self._chunk_store = chunk_store
        self._services = (SERVER, *services)
        self._artifact_service = artifact_service
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._serving: dict[str, bool] = {}

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(self._interval_seconds)

    async def check(self) -> None:
        """Ask once, and say what was found."""
        database, chunk_store = await asyncio.gather(
            self._answers("database", self._database),
            self._answers("chunk store", self._chunk_store),
        )
        for service in self._services:
            needs_chunks = service == self._artifact_service
            self._set(service, serving=database and (chunk_store or not needs_chunks))

    def drain(self) -> None:
        """Say from now on that nothing is served; those who watch are told, and no more."""
        self.servicer.drain()

    def _set(self, service: str, *, serving: bool) -> None:
        before = self._serving.get(service)
        if before is serving:
            return
        self._serving[service] = serving
        self.servicer.set(service, serving=serving)
        if service in {SERVER, self._artifact_service} and not (serving and before is None):
            level = logging.INFO if serving else logging.WARNING
            state = "serving again" if serving else "not serving"
            logger.log(level, "%s: %s", service or "server", state)

    async def _answers(self, what: str, probe: Probe) -> bool:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await probe()
        except StoreFull as error:
            # What is stored can be read, and garbage be collected to make room.
            logger.warning("The %s is full: %s", what, error)
        except (HerdbookError, StoreError, OSError) as error:
            logger.warning("The %s does not answer: %s", what, str(error) or "it takes too long")
            return False
        return True
