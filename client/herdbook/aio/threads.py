"""Work for threads, awaited without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from herdbook.transfer.cancellation import CancelToken

ResultT = TypeVar("ResultT")


async def in_thread(work: Callable[[CancelToken], ResultT]) -> ResultT:
    """Runs work in a thread of its own; cancelling the task gives it up and waits for its end."""
    cancel = CancelToken()
    # The loop's own threads are few, and a transfer is long.
    executor = ThreadPoolExecutor(1, thread_name_prefix="herdbook")
    future = asyncio.get_running_loop().run_in_executor(executor, partial(work, cancel))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        cancel.cancel()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise
    finally:
        executor.shutdown(wait=False)
