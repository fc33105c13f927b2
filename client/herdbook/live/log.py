"""What live models log. Whatever handles it does: they go on."""

from __future__ import annotations

import logging
from contextlib import suppress

_log = logging.getLogger("herdbook.live")


def debug(message: str, *args: object) -> None:
    """Logs what only concerns whoever looks for a mistake."""
    with suppress(Exception):
        _log.debug(message, *args)


def info(message: str, *args: object) -> None:
    """Logs what went well."""
    with suppress(Exception):
        _log.info(message, *args)


def warning(message: str, *args: object, error: BaseException | None = None) -> None:
    """Logs what went wrong, with the traceback of `error`."""
    with suppress(Exception):
        _log.warning(message, *args, exc_info=error)


def exception(message: str, *args: object) -> None:
    """Logs the error that is being handled, with its traceback."""
    with suppress(Exception):
        _log.exception(message, *args)
