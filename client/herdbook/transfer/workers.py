"""A few threads that share a list of tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from herdbook.errors import Cancelled
from herdbook.transfer.cancellation import CancelToken

TaskT = TypeVar("TaskT")

WORKERS: Final = 4
"""Enough to overlap reading, hashing and the network; more only cost memory."""

_LARGEST_ADAPTED_BYTES: Final = 32 * 1024 * 1024 - 64 * 1024
"""Just below the largest block whose end changes what glibc does; see M_MMAP_THRESHOLD there."""


def work_off(tasks: Iterable[TaskT], work: Callable[[TaskT], None], *, cancel: CancelToken) -> None:
    """Works off all tasks on a few threads; takes a task from the iterable when a thread is free.

    The first failure gives up the rest and is raised.

    Raises:
        Cancelled: It was given up from outside.
    """
    _let_memory_be_used_again()
    shared = _Shared(tasks)

    def loop() -> None:
        for task in shared:
            cancel.check()
            work(task)

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="herdbook-transfer") as pool:
        futures = [pool.submit(loop) for _ in range(WORKERS)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in futures if future.done() and future.exception()]
            if failed:
                cancel.cancel()
        except BaseException:
            cancel.cancel()
            raise
    _raise_first(futures)


def _let_memory_be_used_again() -> None:
    """Makes glibc keep the memory of freed chunks for the next ones: see mallopt(3).

    It gives blocks back to the system that are larger than any that was freed before, and getting
    new ones costs more than their hash. NumPy and the like have long freed larger ones; a process
    that only pushes or pulls has not. The block is never written to, so it takes no memory.
    """
    bytes(_LARGEST_ADAPTED_BYTES)


def _raise_first(futures: list[Future[None]]) -> None:
    """Raises the failure that made the others give up, rather than theirs."""
    failures = [failure for future in futures if (failure := future.exception()) is not None]
    failures.sort(key=lambda failure: isinstance(failure, Cancelled))
    if failures:
        raise failures[0]


class _Shared(Iterable[TaskT]):
    """An iterable that several threads may consume together."""

    def __init__(self, tasks: Iterable[TaskT]) -> None:
        self._tasks = iter(tasks)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[TaskT]:
        while True:
            with self._lock:
                try:
                    task = next(self._tasks)
                except StopIteration:
                    return
            yield task
