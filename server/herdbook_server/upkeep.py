"""What a server does now and then so that the database does not grow without need."""

from __future__ import annotations

import asyncio
import logging

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database

REQUESTS_KEPT_SECONDS = 30 * 24 * 60 * 60
"""How long a first answer is kept for retries."""

INTERVAL_SECONDS = 60 * 60.0

logger = logging.getLogger(__name__)


class Upkeep:
    """Forgets first answers that nobody asks for again. Safe on any number of servers at once."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled; outlives outages of the database."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.work()
            except DatabaseUnavailable as error:
                logger.warning("Upkeep is put off: %s", error)

    async def work(self) -> int:
        """Work once; returns how many answers were forgotten."""
        before_us = self._clock.now_us() - REQUESTS_KEPT_SECONDS * 1_000_000
        async with self._database.bookkeep() as records:
            return await records.requests.forget_before(before_us)
