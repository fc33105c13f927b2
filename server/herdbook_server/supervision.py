"""What a server process that was started as a worker and its supervisor tell each other."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

LIFELINE: Final = "HERDBOOK_LIFELINE"
"""Names the descriptor at which a worker reads an end when its supervisor is gone."""

READY: Final = "HERDBOOK_READY_DESCRIPTOR"
"""Names the descriptor that a worker writes to once it answers."""

STOP_SECONDS: Final = 10.0
"""How long a worker may take to end when it has drained."""


def is_supervised() -> bool:
    """Tell whether this process is a worker."""
    return LIFELINE in os.environ


def tell_ready() -> None:
    """Tell the supervisor, if there is one, that this process answers."""
    if is_supervised():
        # It may be gone.
        with suppress(BrokenPipeError), open(int(os.environ[READY]), "wb", buffering=0) as ready:  # noqa: PTH123 - a descriptor
            ready.write(b"1")


def when_left_alone(stop: Callable[[], None], *, stop_seconds: float) -> None:
    """Stop once the supervisor is gone, if there was one; end this process if that takes too long.

    Nobody else would end a worker whose event loop hangs, and it keeps the port from others.
    """
    if not is_supervised():
        return
    loop = asyncio.get_running_loop()
    lifeline = int(os.environ[LIFELINE])

    def watch() -> None:
        os.read(lifeline, 1)
        with suppress(RuntimeError):
            # The loop may have ended.
            loop.call_soon_threadsafe(stop)
        time.sleep(stop_seconds)
        # Without a word: to log may be what the process hangs at.
        os._exit(os.EX_SOFTWARE)

    threading.Thread(target=watch, name="herdbook-lifeline", daemon=True).start()
