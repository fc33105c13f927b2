"""What is done beside a test, again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def again_and_again(work: Callable[[], object], *, threads: int = 1) -> Iterator[None]:
    """Call `work` in threads, again and again, until the block ends; raises what it raised."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            work()

    with ThreadPoolExecutor(threads) as executor:
        running = [executor.submit(run) for _ in range(threads)]
        try:
            yield
        finally:
            ended.set()
        for each in running:
            each.result()
