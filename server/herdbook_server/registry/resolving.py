"""Resolving under load: look-ups that meet share a query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from herdbook_server.ports.database import Database
from herdbook_server.ports.references import Reference
from herdbook_server.ports.values import Resolution

PROMPT_SECONDS = 0.1
"""Nobody waits longer for a query of others: the next one begins beside it."""

SLOW_QUERIES_MAX = 4
"""How many queries may be overdue before all wait for them: the database is away, then."""

Answer = asyncio.Future[Resolution | None]


class _Query:
    """One that is under way."""

    overdue = False


class Resolving:
    """Tells what references name.

    While a query is under way, references that come are gathered, and the next query asks for all
    of them. It begins after each of them came: no answer is older than its question. A query that
    hangs, as on a connection that is gone, holds up those alone who asked by it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._prompt: _Query | None = None
        self._overdue = 0
        self._waiting: dict[Reference, Answer] = {}
        self._tasks: set[asyncio.Task[Sequence[Resolution | None]]] = set()

    async def resolve(self, reference: Reference) -> Resolution | None:
        """What a reference names now; None if that is nothing. Raises DatabaseUnavailable."""
        if self._may_ask():
            (named,) = await self._ask(self._begin(), [reference])
            return named
        if reference not in self._waiting:
            self._waiting[reference] = asyncio.get_running_loop().create_future()
        # Others may wait for the same answer.
        return await asyncio.shield(self._waiting[reference])

    def _may_ask(self) -> bool:
        return self._prompt is None and self._overdue < SLOW_QUERIES_MAX

    def _begin(self) -> _Query:
        self._prompt = query = _Query()
        return query

    async def _ask(
        self, query: _Query, references: Sequence[Reference]
    ) -> Sequence[Resolution | None]:
        patience = asyncio.get_running_loop().call_later(PROMPT_SECONDS, self._overtake, query)
        try:
            async with self._database.read() as records:
                if len(references) == 1:
                    return [await records.versions.resolve(references[0])]
                return await records.versions.resolve_many(references)
        finally:
            patience.cancel()
            self._end(query)

    def _overtake(self, query: _Query) -> None:
        query.overdue = True
        self._prompt = None
        self._overdue += 1
        self._ask_waiting()

    def _end(self, query: _Query) -> None:
        if query.overdue:
            self._overdue -= 1
        else:
            self._prompt = None
        self._ask_waiting()

    def _ask_waiting(self) -> None:
        if not self._waiting or not self._may_ask():
            return
        waiting, self._waiting = self._waiting, {}
        task = asyncio.create_task(self._ask(self._begin(), list(waiting)))
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
