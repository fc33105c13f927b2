"""From domain errors to gRPC statuses: one table, and the details that programs act on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from herdbook_server import errors

DOMAIN = "herdbook"
DETAILS_KEY = "grpc-status-details-bin"
INTERNAL_REASON = "INTERNAL"
INTERNAL_MESSAGE = "The server failed. The failure is in its log under this request id."

CODES: dict[type[errors.HerdbookError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
}
"""The status of each branch of the tree."""

# Clients refuse metadata of more than 8 KiB; message and details both travel in it, encoded.
_MESSAGE_MAX_BYTES = 512
_TEXT_MAX_BYTES = 256
_DETAILS_MAX_BYTES = 3072
_RETRY_AFTER_SECONDS = 1.0


def code_of(error: errors.HerdbookError) -> grpc.StatusCode:
    """Return the status of an error: that of the branch it belongs to."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return grpc.StatusCode.INTERNAL


def status_of(error: errors.HerdbookError) -> status_pb2.Status:
    """Return the status with its details, cut and shortened to what a trailer holds."""
    status = status_pb2.Status(
        code=code_of(error).value[0], message=_clip(error.message, _MESSAGE_MAX_BYTES)
    )
    for detail in _details(error):
        _add(status, detail)
    return status


def internal_status() -> status_pb2.Status:
    """Return the status of a failure of ours, which says nothing of its cause."""
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=INTERNAL_MESSAGE)
    _add(status, error_details_pb2.ErrorInfo(reason=INTERNAL_REASON, domain=DOMAIN))
    return status


def _details(error: errors.HerdbookError) -> Iterator[Message]:
    yield error_details_pb2.ErrorInfo(
        reason=type(error).reason,
        domain=DOMAIN,
        metadata={key: _clip(value) for key, value in error.metadata.items()},
    )
    if error.resource is not None:
        yield error_details_pb2.ResourceInfo(
            resource_type=error.resource.type, resource_name=_clip(error.resource.name, 1024)
        )
    if error.retry_after_seconds is not None or isinstance(error, errors.Unavailable):
        yield error_details_pb2.RetryInfo(retry_delay=_retry_delay(error))
    if error.fields:
        yield error_details_pb2.BadRequest(field_violations=_violations(error.fields))
    if error.conditions:
        yield error_details_pb2.PreconditionFailure(violations=_conditions(error.conditions))


def _violations(
    fields: Iterable[errors.FieldViolation],
) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    for violation in fields:
        yield error_details_pb2.BadRequest.FieldViolation(
            field=_clip(violation.field), description=_clip(violation.description)
        )


def _conditions(
    conditions: Iterable[errors.UnmetCondition],
) -> Iterator[error_details_pb2.PreconditionFailure.Violation]:
    for condition in conditions:
        yield error_details_pb2.PreconditionFailure.Violation(
            type=condition.type,
            subject=_clip(condition.subject),
            description=_clip(condition.description),
        )


def _retry_delay(error: errors.HerdbookError) -> Duration:
    seconds = error.retry_after_seconds
    delay = Duration()
    delay.FromMilliseconds(int(1000 * (_RETRY_AFTER_SECONDS if seconds is None else seconds)))
    return delay


def _add(status: status_pb2.Status, detail: Message) -> None:
    """Add a detail; of a list, as many entries as there is room for."""
    packed = AnyMessage()
    packed.Pack(detail)
    while status.ByteSize() + packed.ByteSize() > _DETAILS_MAX_BYTES:
        entries = _entries(detail)
        if len(entries) <= 1:
            return
        del entries[len(entries) // 2 :]
        packed.Pack(detail)
    status.details.append(packed)


def _entries(detail: Message) -> list[Message]:
    """Return the list that a detail consists of, which may be shortened; an empty one if none."""
    if isinstance(detail, error_details_pb2.BadRequest):
        return detail.field_violations  # type: ignore[return-value]
    if isinstance(detail, error_details_pb2.PreconditionFailure):
        return detail.violations  # type: ignore[return-value]
    return []


def _clip(text: str, max_bytes: int = _TEXT_MAX_BYTES) -> str:
    """Cut a text to so many bytes of UTF-8; what cannot be encoded becomes `?`."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= max_bytes:
        return encoded.decode()
    return encoded[: max_bytes - 3].decode("utf-8", "ignore") + "…"
