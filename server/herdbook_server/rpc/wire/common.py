"""Conversions that several resources share."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from herdbook.v1 import alias_pb2, version_pb2
from herdbook_server.errors import FieldInvalid, FieldViolation
from herdbook_server.ports.values import Resolution

_MICROSECONDS = 1_000_000


def timestamp(time_us: int) -> Timestamp:
    """Return a time as a message."""
    seconds, microseconds = divmod(time_us, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def optional_timestamp(time_us: int | None) -> Timestamp | None:
    """Return a time as a message, None if there is none."""
    return None if time_us is None else timestamp(time_us)


def digest_text(digest: bytes | None) -> str:
    """Return a manifest's digest as the contract spells it; empty for none."""
    return "" if digest is None else f"sha256:{digest.hex()}"


def optional_text(text: str) -> str | None:
    """Return None for an empty text, which is how the contract says that a field is not given."""
    return text or None


def optional_revision(revision: int) -> int | None:
    """Return None for 0, which is how the contract says that any revision will do."""
    return revision or None


def expected_version(
    request: alias_pb2.SetAliasRequest
    | alias_pb2.RollbackAliasRequest
    | alias_pb2.DeleteAliasRequest
    | version_pb2.AliasTarget,
) -> int | None:
    """Return the version that an alias must point at; None if any will do."""
    return request.expected_version if request.HasField("expected_version") else None


def masked(mask: FieldMask, allowed: tuple[str, ...]) -> frozenset[str]:
    """Return the fields that an update mask names.

    Raises:
        FieldInvalid: It names none, or one that cannot be changed so.
    """
    paths = frozenset(mask.paths)
    if not paths or not paths.issubset(allowed):
        message = f"An update mask names fields to change, of {', '.join(allowed)}."
        raise FieldInvalid(message, fields=[FieldViolation("update_mask", message)])
    return paths


def resolution(value: Resolution) -> version_pb2.Resolution:
    """Return what a reference names as a message."""
    return version_pb2.Resolution(
        model=value.model,
        version=value.version,
        digest=digest_text(value.digest),
        source_uri=value.source_uri,
        size_bytes=value.size_bytes,
    )
