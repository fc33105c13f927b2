"""Health, as what the server rests on allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from herdbook_server.errors import HerdbookError
from herdbook_server.ports.chunks import StoreError, StoreFull

logger = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[object]]

SERVER = ""
"""What a health check asks for that names no service."""

_Status = health_pb2.HealthCheckResponse.ServingStatus


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
        self.servicer = aio.HealthServicer()
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
            await self._set(service, serving=database and (chunk_store or not needs_chunks))

    async def drain(self) -> None:
        """Say from now on that nothing is served."""
        await self.servicer.enter_graceful_shutdown()

    async def _set(self, service: str, *, serving: bool) -> None:
        before = self._serving.get(service)
        if before is serving:
            return
        self._serving[service] = serving
        status = health_pb2.HealthCheckResponse
        await self.servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
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
