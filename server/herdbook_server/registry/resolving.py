"""Resolving under load: look-ups that meet share a query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from herdbook_server.ports.database import Database
from herdbook_server.ports.references import Reference
from herdbook_server.ports.values import Resolution

QUERIES_AT_ONCE = 1

Answer = asyncio.Future[Resolution | None]


class Resolving:
    """Tells what references name.

    While a few queries are under way, references that come are gathered, and the next query asks
    for all of them. It begins after each of them came: no answer is older than its question.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = 0
        self._waiting: dict[Reference, Answer] = {}
        self._tasks: set[asyncio.Task[Sequence[Resolution | None]]] = set()

    async def resolve(self, reference: Reference) -> Resolution | None:
        """What a reference names now; None if that is nothing. Raises DatabaseUnavailable."""
        if self._queries < QUERIES_AT_ONCE:
            (named,) = await self._ask([reference])
            return named
        if reference not in self._waiting:
            self._waiting[reference] = asyncio.get_running_loop().create_future()
        # Others may wait for the same answer.
        return await asyncio.shield(self._waiting[reference])

    async def _ask(self, references: Sequence[Reference]) -> Sequence[Resolution | None]:
        self._queries += 1
        try:
            async with self._database.read() as records:
                if len(references) == 1:
                    return [await records.versions.resolve(references[0])]
                return await records.versions.resolve_many(references)
        finally:
            self._queries -= 1
            self._ask_waiting()

    def _ask_waiting(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        task = asyncio.create_task(self._ask(list(waiting)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(_tell, list(waiting.values())))


def _tell(answers: Sequence[Answer], task: asyncio.Task[Sequence[Resolution | None]]) -> None:
    """Pass on what a query brought, be it an error, to whoever still waits."""
    if task.cancelled():
        for answer in answers:
            answer.cancel()
    elif (error := task.exception()) is not None:
        for answer in answers:
            answer.set_exception(error)
            answer.exception()  # which is none that nobody looked at, should nobody wait any more
    else:
        for answer, named in zip(answers, task.result(), strict=True):
            answer.set_result(named)
