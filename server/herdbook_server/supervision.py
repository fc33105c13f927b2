"""What a server process that was started as a worker and its supervisor tell each other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

LIFELINE: Final = "HERDBOOK_LIFELINE"
"""Names the descriptor at which a worker reads an end when its supervisor is gone."""

READY: Final = "HERDBOOK_READY_DESCRIPTOR"
"""Names the descriptor that a worker writes to once it answers."""


def is_supervised() -> bool:
    """Tell whether this process is a worker."""
    return LIFELINE in os.environ


def tell_ready() -> None:
    """Tell the supervisor, if there is one, that this process answers."""
    if is_supervised():
        # It may be gone.
        with suppress(BrokenPipeError), open(int(os.environ[READY]), "wb", buffering=0) as ready:  # noqa: PTH123 - a descriptor
            ready.write(b"1")


def when_left_alone(act: Callable[[], None]) -> None:
    """Act once the supervisor is gone, if there was one."""
    if not is_supervised():
        return
    loop = asyncio.get_running_loop()
    lifeline = int(os.environ[LIFELINE])

    def acting() -> None:
        loop.remove_reader(lifeline)
        act()

    loop.add_reader(lifeline, acting)
