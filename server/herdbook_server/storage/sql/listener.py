"""Listens for the notifications that other processes' writes send."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from herdbook_server.storage.sql.postgres_connection import keep_alive
from herdbook_server.storage.sql.postgres_errors import DRIVER_ERRORS

if TYPE_CHECKING:
    Connect = Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]]

CHANNEL: Final = "herdbook_revision"

CHECK_SECONDS: Final = 15.0
"""How often the connection is asked whether it is alive."""

ANSWER_SECONDS: Final = 5.0

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0

logger = logging.getLogger(__name__)


class Listener:
    """Calls back with the revision that each notification names, on a connection of its own.

    A mere wake-up: notifications may be lost while the connection is made anew.
    """

    def __init__(self, connect: Connect, heard: Callable[[int], None]) -> None:
        self._connect = connect
        self._heard = heard
        self.listening = False
        """Whether notifications arrive at this moment, as far as is known."""
        self._task = asyncio.create_task(self._run(), name="herdbook-listener")

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._connected() as connection:
                    pause = FIRST_PAUSE_SECONDS
                    await self._listen(connection)
            except DRIVER_ERRORS as error:
                logger.warning("not listening to the database, will try again: %s", error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        connection = await self._connect()
        try:
            keep_alive(connection)
            yield connection
        finally:
            self.listening = False
            connection.terminate()

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Listen until the connection is gone, which raises."""
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(CHANNEL, self._on_notification)
        self.listening = True
        while not ended.is_set():
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await ended.wait()
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=ANSWER_SECONDS)
        raise ConnectionResetError("the connection that listens was closed")

    def _on_notification(self, _connection: Any, _process: int, _channel: str, text: Any) -> None:
        if str(text).isdigit():
            self._heard(int(text))
