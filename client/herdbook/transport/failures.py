"""The one place that turns failed calls into errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as pb
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from herdbook.core import wire
from herdbook.errors import (
    BY_REASON,
    BY_STATUS,
    ConnectionLost,
    ErrorDetails,
    HerdbookError,
    Internal,
    Unavailable,
    Violation,
)

DOMAIN: Final = "herdbook"

# What the transport says, with status INTERNAL or UNKNOWN, when a stream dies under a call.
_BROKEN_STREAM = ("RST_STREAM", "Stream removed", "GOAWAY", "Socket closed", "Connection reset")


def error_of(failure: grpc.RpcError, *, target: str) -> HerdbookError:
    """Turns a failed call into the error that says the same.

    Args:
        failure: What a channel raised.
        target: The server, for sentences about a server that does not answer.
    """
    details = _details(_status(failure))
    kind = BY_REASON.get(details.reason) or BY_STATUS.get(failure.code().name, HerdbookError)
    text = failure.details() or ""
    if details.reason:
        return kind(text, details=details)
    return _plain(kind, text, target=target, details=details)


def _plain(
    kind: type[HerdbookError], text: str, *, target: str, details: ErrorDetails
) -> HerdbookError:
    if issubclass(kind, Unavailable):
        return kind(f"The server {target} cannot be reached: {text}", details=details)
    if kind in (Internal, HerdbookError) and any(sign in text for sign in _BROKEN_STREAM):
        return ConnectionLost(f"The connection to {target} broke: {text}", details=details)
    if kind.status == "DEADLINE_EXCEEDED":
        return kind(f"No answer from {target} came in time.", details=details)
    return kind(text, details=details)


def _status(failure: grpc.RpcError) -> Status | None:
    try:
        # Whatever a channel raises is a call too.
        found: Status | None = rpc_status.from_call(cast("grpc.Call", failure))
    except (ValueError, DecodeError, AttributeError):
        # Something between here and the server has rewritten the status.
        return None
    return found


def _details(status: Status | None) -> ErrorDetails:
    found: dict[str, object] = {}
    for packed in status.details if status is not None else ():
        read = _READERS.get(packed.TypeName())
        if read is not None:
            found |= read(packed)
    return ErrorDetails(**found)  # type: ignore[arg-type]  # each reader makes some of its fields


def _error_info(packed: AnyMessage) -> dict[str, object]:
    message = pb.ErrorInfo.FromString(packed.value)
    if message.domain != DOMAIN:
        return {}
    return {"reason": message.reason, "metadata": dict(message.metadata)}


def _bad_request(packed: AnyMessage) -> dict[str, object]:
    message = pb.BadRequest.FromString(packed.value)
    return {
        "violations": tuple(Violation(v.field, v.description) for v in message.field_violations)
    }


def _precondition_failure(packed: AnyMessage) -> dict[str, object]:
    message = pb.PreconditionFailure.FromString(packed.value)
    return {
        "violations": tuple(Violation(v.subject, v.description, v.type) for v in message.violations)
    }


def _resource_info(packed: AnyMessage) -> dict[str, object]:
    message = pb.ResourceInfo.FromString(packed.value)
    return {"resource_type": message.resource_type, "resource_name": message.resource_name}


def _retry_info(packed: AnyMessage) -> dict[str, object]:
    return {"retry_after_seconds": wire.seconds(pb.RetryInfo.FromString(packed.value).retry_delay)}


def _request_info(packed: AnyMessage) -> dict[str, object]:
    return {"request_id": pb.RequestInfo.FromString(packed.value).request_id}


_READERS: Final[dict[str, Callable[[AnyMessage], dict[str, object]]]] = {
    "google.rpc.ErrorInfo": _error_info,
    "google.rpc.BadRequest": _bad_request,
    "google.rpc.PreconditionFailure": _precondition_failure,
    "google.rpc.ResourceInfo": _resource_info,
    "google.rpc.RetryInfo": _retry_info,
    "google.rpc.RequestInfo": _request_info,
}
