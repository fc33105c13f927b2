"""What is done beside a test, again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def again_and_again(work: Callable[[], object], *, threads: int = 1) -> Iterator[None]:
    """Call `work` in threads, again and again, until the block ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            work()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in running:
            thread.join()
