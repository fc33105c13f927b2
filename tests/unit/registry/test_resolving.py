"""Look-ups that meet share a query."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.ports.database import Database
from herdbook_server.ports.references import ByNumber, Reference
from herdbook_server.ports.values import Resolution
from herdbook_server.registry.resolving import SLOW_QUERIES_MAX, Resolving
from tests.support.waiting import eventually


class HeldDatabase:
    """Answers queries when it is told to; version 404 is none."""

    def __init__(self) -> None:
        self.asked: list[list[Reference]] = []
        self.answering = asyncio.Event()
        self.hanging: list[Reference] = []
        """First references of queries that are never answered."""
        self.error: Exception | None = None
        self.versions = self

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        yield self

    async def resolve(self, reference: Reference) -> Resolution | None:
        (answer,) = await self.resolve_many([reference])
        return answer

    async def resolve_many(self, references: Sequence[Reference]) -> list[Resolution | None]:
        self.asked.append(list(references))
        await self.answering.wait()
        if references[0] in self.hanging:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return [named(reference) for reference in references]


def named(reference: Reference) -> Resolution | None:
    assert isinstance(reference, ByNumber)
    if reference.number == 404:
        return None
    return Resolution(reference.model, reference.number, None, "", 0)


def wanted(*numbers: int) -> list[Reference]:
    return [ByNumber("m", number) for number in numbers]


@pytest.fixture
def database() -> HeldDatabase:
    return HeldDatabase()


@pytest.fixture
def resolving(database: HeldDatabase) -> Resolving:
    return Resolving(cast("Database", database))


async def ask(
    resolving: Resolving, references: Sequence[Reference]
) -> list[asyncio.Task[Resolution | None]]:
    tasks = [asyncio.create_task(resolving.resolve(reference)) for reference in references]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_while_queries_are_under_way_shares_the_next_one(
    database: HeldDatabase, resolving: Resolving
) -> None:
    references = wanted(*range(20), 5, 404)
    tasks = await ask(resolving, references)
    database.answering.set()
    assert await asyncio.gather(*tasks) == [named(reference) for reference in references]
    assert database.asked == [references[:1], list(dict.fromkeys(references[1:]))]


async def test_a_question_is_asked_after_it_came(
    database: HeldDatabase, resolving: Resolving
) -> None:
    first = await ask(resolving, wanted(0))
    late = await ask(resolving, wanted(0))
    assert database.asked == [wanted(0)]
    database.answering.set()
    await asyncio.gather(*first, *late)
    assert database.asked[-1] == wanted(0)


async def test_an_error_reaches_everyone_who_waits_and_the_next_question_is_asked(
    database: HeldDatabase, resolving: Resolving
) -> None:
    tasks = await ask(resolving, wanted(*range(9)))
    database.error = DatabaseUnavailable("away")
    database.answering.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
    database.error = None
    assert await resolving.resolve(wanted(1)[0]) == named(wanted(1)[0])


async def test_one_who_leaves_takes_the_answer_from_nobody(
    database: HeldDatabase, resolving: Resolving
) -> None:
    busy = await ask(resolving, wanted(0))
    leaving, staying = await ask(resolving, wanted(7, 7))
    leaving.cancel()
    database.answering.set()
    assert await staying == named(wanted(7)[0])
    await asyncio.gather(*busy)
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_cancelled_query_does_not_keep_the_next_ones_waiting(
    database: HeldDatabase, resolving: Resolving
) -> None:
    busy = await ask(resolving, wanted(0))
    waiting = await ask(resolving, wanted(7))
    for task in busy:
        task.cancel()
    database.answering.set()
    assert await asyncio.gather(*waiting) == [named(wanted(7)[0])]


async def test_a_query_that_hangs_holds_up_nobody_else(
    database: HeldDatabase, resolving: Resolving
) -> None:
    database.answering.set()
    database.hanging = wanted(0)
    (hanging,) = await ask(resolving, wanted(0))
    assert await resolving.resolve(wanted(1)[0]) == named(wanted(1)[0])
    assert await resolving.resolve(wanted(2)[0]) == named(wanted(2)[0])
    hanging.cancel()
    await asyncio.wait([hanging])
    assert await resolving.resolve(wanted(3)[0]) == named(wanted(3)[0])


async def test_a_database_that_is_away_is_asked_a_few_times_at_once_and_no_more(
    database: HeldDatabase, resolving: Resolving
) -> None:
    tasks = []
    for number in range(SLOW_QUERIES_MAX):
        tasks += await ask(resolving, wanted(number))
        await eventually(lambda: resolving._prompt is None, "the query is overdue")
    tasks += await ask(resolving, wanted(*range(100, 120)))
    assert len(database.asked) == SLOW_QUERIES_MAX
    database.answering.set()
    assert all(await asyncio.gather(*tasks))
    assert len(database.asked) == SLOW_QUERIES_MAX + 1
