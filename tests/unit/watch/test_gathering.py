from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from herdbook_server.watch.gathering import Gathering


class Written:
    """Takes batches, each when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.goes_on = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> None:
        self.batches.append([*items])
        await self.goes_on.wait()
        if self.failure is not None:
            raise self.failure


CALL: ContextVar[str] = ContextVar("CALL", default="none")


async def begin(gathering: Gathering[int], *items: int) -> asyncio.Task[None]:
    writing = asyncio.create_task(gathering.write(items))
    await asyncio.sleep(0.01)
    return writing


async def test_what_comes_while_one_writes_is_written_together() -> None:
    written = Written()
    gathering = Gathering(written)
    writes = [await begin(gathering, 1)]
    writes += [await begin(gathering, number, 10 * number) for number in (2, 3)]
    assert written.batches == [[1]]
    assert not any(write.done() for write in writes)
    written.goes_on.set()
    await asyncio.gather(*writes)
    assert written.batches == [[1], [2, 20, 3, 30]]


async def test_a_failure_is_that_of_all_in_the_batch_and_of_no_other() -> None:
    written = Written()
    gathering = Gathering(written)
    written.failure = ConnectionError("away")
    written.goes_on.set()
    for write in [await begin(gathering, 1), await begin(gathering, 2)]:
        with pytest.raises(ConnectionError, match="away"):
            await write
    written.failure = None
    await gathering.write([3])
    assert written.batches[-1] == [3]


async def test_what_a_cancelled_caller_has_handed_over_is_written() -> None:
    written = Written()
    gathering = Gathering(written)
    first, second = await begin(gathering, 1), await begin(gathering, 2)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    written.goes_on.set()
    await first
    await gathering.write([3])
    assert [item for batch in written.batches for item in batch] == [1, 2, 3]


async def test_what_is_written_together_belongs_to_no_call() -> None:
    seen: list[str] = []

    async def write(_: Sequence[int]) -> None:
        seen.append(CALL.get())

    CALL.set("the first")
    await Gathering(write).write([1])
    assert seen == ["none"]
