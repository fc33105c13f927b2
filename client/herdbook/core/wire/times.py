"""Times and durations."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def time(message: Timestamp) -> datetime:
    """Reads a time, in UTC, to the microsecond."""
    return message.ToDatetime(tzinfo=UTC)


def time_if_set(message: Timestamp, *, is_set: bool) -> datetime | None:
    """Reads a time that may not be there."""
    return time(message) if is_set else None


def seconds(message: Duration) -> float:
    """Reads a duration."""
    return message.seconds + message.nanos / 1e9


def duration(amount_seconds: float) -> Duration:
    """Writes a duration."""
    message = Duration()
    message.FromNanoseconds(round(amount_seconds * 1e9))
    return message
