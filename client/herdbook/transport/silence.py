"""Gives up connections that bring nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from herdbook.transport.caller import ByteStream


@contextmanager
def guarded(call: ByteStream, silence_seconds: float) -> Iterator[threading.Event]:
    """Cancels a call in the end, and earlier if nothing is heard for too long.

    Args:
        call: The call that the block reads.
        silence_seconds: How long, or up to twice as long, the event that the block is given may
            stay unset; the block sets it whenever something comes.
    """
    heard, ended = threading.Event(), threading.Event()

    def guard() -> None:
        while not ended.wait(silence_seconds):
            if not heard.is_set():
                call.cancel()
            heard.clear()

    thread = threading.Thread(target=guard, name="herdbook-guard", daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        call.cancel()
        thread.join()
