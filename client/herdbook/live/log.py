"""What live models log. Whatever handles it does: they go on."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

_log = logging.getLogger("herdbook.live")


def debug(message: str, *args: object) -> None:
    """Logs what only concerns whoever looks for a mistake."""
    with _whatever_happens():
        _log.debug(message, *args, stacklevel=2)


def info(message: str, *args: object) -> None:
    """Logs what went well."""
    with _whatever_happens():
        _log.info(message, *args, stacklevel=2)


def warning(message: str, *args: object, error: BaseException | None = None) -> None:
    """Logs what went wrong, with the traceback of `error`."""
    with _whatever_happens():
        _log.warning(message, *args, exc_info=error, stacklevel=2)


def exception(message: str, *args: object) -> None:
    """Logs the error that is being handled, with its traceback."""
    with _whatever_happens():
        _log.exception(message, *args, stacklevel=2)


def _whatever_happens() -> suppress:
    """Suppresses what a handler raises; in the main thread, not what interrupts the program."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return suppress(Exception if in_main_thread else BaseException)
