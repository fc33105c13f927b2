"""What commands that run for long log: lines on stderr, with times."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from herdbook.cli.texts import one_line


@contextmanager
def logged() -> Iterator[None]:
    """Writes what the client logs to stderr for the length of the block."""
    logger, handler = logging.getLogger("herdbook"), logging.StreamHandler()
    handler.setFormatter(_Lines())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


class _Lines(logging.Formatter):
    """One line each, in UTC; without tracebacks, which are for those who wrote what failed."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging calls it so
        del ei
        return ""
