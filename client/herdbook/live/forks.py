"""Tells live models that they are in a child process, where none of their threads run."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that has threads."""

    def forked(self) -> None:
        """Notes that this is a child of the process that started."""


_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_registered = False


def watch(started: Forkable) -> None:
    """Has `started.forked()` called in every child of this process from now on."""
    global _registered  # noqa: PLW0603 - hooks of a process cannot be taken back
    _watched.add(started)
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(after_in_child=_tell)


def _tell() -> None:
    for started in list(_watched):
        started.forked()
    _watched.clear()
