"""Giving up a transfer from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from herdbook.errors import Cancelled


class CancelToken:
    """Gives up work in other threads; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._actions: dict[int, Callable[[], object]] = {}
        self._next = 0

    @property
    def cancelled(self) -> bool:
        """Whether the work is given up."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Gives the work up: breaks off what is under way."""
        with self._lock:
            self._event.set()
            actions = list(self._actions.values())
        for action in actions:
            action()

    def check(self) -> None:
        """Raises if the work is given up.

        Raises:
            Cancelled: It is.
        """
        if self.cancelled:
            raise Cancelled("The transfer was given up.")

    def wait(self, seconds: float) -> None:
        """Waits.

        Raises:
            Cancelled: The work was given up meanwhile.
        """
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def breaks_off(self, action: Callable[[], object]) -> Iterator[None]:
        """Has `action` called if the work is given up inside the block.

        Raises:
            Cancelled: The work is given up already.
        """
        with self._lock:
            self.check()
            number, self._next = self._next, self._next + 1
            self._actions[number] = action
        try:
            yield
        finally:
            with self._lock:
                self._actions.pop(number, None)
