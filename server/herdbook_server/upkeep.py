"""What servers do now and then so that database and store do not grow without need."""

from __future__ import annotations

import asyncio
import logging

from herdbook_server.artifacts.garbage import GarbageCollector
from herdbook_server.errors import HerdbookError
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database

REQUESTS_KEPT_SECONDS = 30 * 24 * 60 * 60
"""How long a first answer is kept for retries."""

GARBAGE_COLLECTION = "garbage collection"

GARBAGE_COLLECTION_SECONDS = 60 * 60.0
"""How long the server that took it is left alone with it."""

INTERVAL_SECONDS = 60 * 60.0
"""How often a server looks what there is to do."""

_MICROSECONDS = 1_000_000

logger = logging.getLogger(__name__)


class Upkeep:
    """Forgets first answers that nobody asks for again, and has garbage collected.

    Safe on any number of servers at once; one of them collects garbage.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        garbage_collector: GarbageCollector,
        gc_interval_seconds: float,
    ) -> None:
        """Will collect garbage that often; never, if the interval is 0."""
        self._database = database
        self._clock = clock
        self._garbage_collector = garbage_collector
        self._gc_interval_seconds = gc_interval_seconds

    async def run(self) -> None:
        """Work until cancelled; outlives outages of the database and of the store."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            for work in (self.forget_answers, self.collect_garbage):
                try:
                    await work()
                except HerdbookError as error:
                    logger.warning("Upkeep is put off: %s", error)

    async def forget_answers(self) -> int:
        """Forget first answers that are old enough; returns how many."""
        before_us = self._clock.now_us() - REQUESTS_KEPT_SECONDS * _MICROSECONDS
        async with self._database.bookkeep() as records:
            return await records.requests.forget_before(before_us)

    async def collect_garbage(self) -> bool:
        """Collect garbage if that is due and no other server is at it; returns whether it was."""
        if not self._gc_interval_seconds or not await self._take_garbage_collection():
            return False
        collected = await self._garbage_collector.collect(apply=True)
        async with self._database.bookkeep() as records:
            await records.duties.done(GARBAGE_COLLECTION, time_us=self._clock.now_us())
        fields = {"chunk_count": collected.chunk_count, "size_bytes": collected.size_bytes}
        logger.info("garbage collected", extra={"fields": fields})
        return True

    async def _take_garbage_collection(self) -> bool:
        now_us = self._clock.now_us()
        async with self._database.bookkeep() as records:
            return await records.duties.take(
                GARBAGE_COLLECTION,
                done_before_us=now_us - int(self._gc_interval_seconds * _MICROSECONDS),
                time_us=now_us,
                until_us=now_us + int(GARBAGE_COLLECTION_SECONDS * _MICROSECONDS),
            )
