"""Values as people read them."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from herdbook.core.values import Json, TransferReport

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEPS = ((86_400 * 365, "y"), (86_400 * 30, "mo"), (86_400, "d"), (3_600, "h"), (60, "min"))
_NOTHING = "-"


def printable(text: str) -> str:
    """Replaces what would steer a terminal; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else "�"
        for char in text
    )


def one_line(text: str) -> str:
    """Puts a text of several lines into one."""
    return printable(" ".join(text.split()))


def size_text(size_bytes: int) -> str:
    """Writes a size such as `1.2 MiB`."""
    size = float(size_bytes)
    for unit in _UNITS[:-1]:
        if size < 1024:  # noqa: PLR2004 - the step of these units
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def relative_time(time: datetime, now: datetime) -> str:
    """Writes how long ago a time is, such as `3 h ago`."""
    seconds = (now - time).total_seconds()
    distance = _distance(abs(seconds))
    if distance is None:
        return "just now"
    return f"{distance} ago" if seconds > 0 else f"in {distance}"


def _distance(seconds: float) -> str | None:
    for length, unit in _STEPS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else None


def absolute_time(time: datetime) -> str:
    """Writes a time of day in this machine's zone, such as `2026-03-01 14:05:09 CET`."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def age(time: datetime | None) -> str:
    """Writes how long ago a time is, as of now; for tables."""
    return _NOTHING if time is None else relative_time(time, datetime.now(UTC))


def moment(time: datetime | None) -> str:
    """Writes a time in both ways; for details."""
    return _NOTHING if time is None else f"{age(time)} ({absolute_time(time)})"


def number_text(number: float) -> str:
    """Writes a measured figure with the digits that tell it from others."""
    return f"{number:.6g}"


def value_text(value: Json) -> str:
    """Writes a field's value."""
    match value:
        case None | "":
            return _NOTHING
        case bool():
            return "yes" if value else "no"
        case float():
            return number_text(value)
        case str():
            return printable(value)
        case _:
            from herdbook.cli.output import json_text

            return printable(json_text(value))


def version_text(number: int | None) -> str:
    """Writes a version's number; a dash for none."""
    return _NOTHING if not number else str(number)


def transfer_text(report: TransferReport) -> str:
    """Tells what moving a version cost."""
    return (
        f"{size_text(report.total_bytes)} in {report.seconds:.2f} s: "
        f"{size_text(report.moved_bytes)} moved, {size_text(report.saved_bytes)} saved"
    )
