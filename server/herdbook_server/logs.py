"""Logs: one line an event on standard error, as JSON for machines or as text for people."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

from herdbook_server import supervision

LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_context(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, message and fields, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        fields = " ".join(f"{key}={_quoted(value)}" for key, value in _context(record).items())
        message = record.getMessage().replace("\n", "\\n")
        line = f"{_time(record)} {record.levelname:<7} {message} {fields}".rstrip()
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


def configure(log_format: LogFormat, level: LogLevel, *, request_id: Callable[[], str]) -> None:
    """Set up logging for this process.

    Args:
        log_format: How lines look.
        level: The least that our own loggers say; others say warnings and worse.
        request_id: Tells the id of the call that is being answered; empty outside of any.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_RequestId(request_id))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("herdbook_server").setLevel(level.upper())


class _RequestId(logging.Filter):
    """Adds the request id to records."""

    def __init__(self, request_id: Callable[[], str]) -> None:
        super().__init__()
        self._request_id = request_id

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = self._request_id()
        return True


def _context(record: logging.LogRecord) -> dict[str, object]:
    """Return what is known of an event beside its message; what is empty is left out."""
    fields: Mapping[str, object] = getattr(record, "fields", {})
    # Workers write to one stream.
    process = record.process if supervision.is_supervised() else None
    known = {**fields, "request_id": getattr(record, "request_id", ""), "process": process}
    return {key: value for key, value in known.items() if value not in {"", None}}


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    """Return a value on one line that cannot be taken for two fields."""
    text = str(value)
    return text if text.isprintable() and " " not in text and '"' not in text else json.dumps(text)
