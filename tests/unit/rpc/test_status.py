"""Every refusal has a status that programs can act on and that fits a trailer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from herdbook_server import errors
from herdbook_server.errors import FieldViolation, HerdbookError, Resource, UnmetCondition
from herdbook_server.rpc.status import CODES, code_of, internal_status, status_of

Detail = TypeVar("Detail", bound=Message)

TRAILER_BYTES = 6 * 1024


def leaves(kind: type[HerdbookError] = HerdbookError) -> Iterator[type[HerdbookError]]:
    """Every error that has no error below it."""
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from leaves(child)


def detail(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    """The first detail of a kind."""
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


@pytest.mark.parametrize("kind", sorted(leaves(), key=str), ids=lambda kind: kind.reason)
def test_every_error_has_a_code_and_its_reason(kind: type[HerdbookError]) -> None:
    status = status_of(kind("A sentence."))
    info = detail(status, error_details_pb2.ErrorInfo)
    assert info is not None
    assert (info.reason, info.domain) == (kind.reason, "herdbook")
    assert status.message == "A sentence."
    assert code_of(kind("")) is not grpc.StatusCode.INTERNAL


def test_every_branch_of_the_tree_has_its_own_code() -> None:
    assert len(set(CODES.values())) == len(CODES)


def test_details_say_what_is_to_blame() -> None:
    error = errors.VersionInUse(
        "It is in use.",
        resource=Resource("version", "fraud/tc:7"),
        fields=[FieldViolation("reference", "names what is in use")],
        conditions=[UnmetCondition("alias", "champion", "points at it")],
        metadata={"current_version": "7"},
    )
    status = status_of(error)
    info = detail(status, error_details_pb2.ErrorInfo)
    resource = detail(status, error_details_pb2.ResourceInfo)
    bad_request = detail(status, error_details_pb2.BadRequest)
    failure = detail(status, error_details_pb2.PreconditionFailure)
    assert info
    assert info.metadata["current_version"] == "7"
    assert resource
    assert resource.resource_name == "fraud/tc:7"
    assert bad_request
    assert bad_request.field_violations[0].field == "reference"
    assert failure
    assert failure.violations[0].subject == "champion"
    assert detail(status, error_details_pb2.RetryInfo) is None


def test_what_is_unavailable_says_when_to_try_again() -> None:
    retry = detail(
        status_of(errors.Draining("Bye.", retry_after_seconds=0.25)), error_details_pb2.RetryInfo
    )
    assert retry
    assert retry.retry_delay.ToMilliseconds() == 250
    assert detail(status_of(errors.StoreUnavailable("Later.")), error_details_pb2.RetryInfo)


def test_a_status_fits_a_trailer_whatever_the_error_holds() -> None:
    huge = "ä\x00\ud800" * 10_000
    error = errors.ChunksMissing(
        huge,
        resource=Resource("chunk", huge),
        fields=[FieldViolation(huge, huge)] * 1000,
        conditions=[UnmetCondition("chunk", f"{number:064x}", huge) for number in range(1000)],
        metadata={"missing_count": "1000"},
    )
    status = status_of(error)
    assert status.ByteSize() < TRAILER_BYTES
    info = detail(status, error_details_pb2.ErrorInfo)
    assert info
    assert info.metadata["missing_count"] == "1000"
    failure = detail(status, error_details_pb2.PreconditionFailure)
    assert failure
    assert len(failure.violations) >= 1


def test_a_failure_of_ours_says_nothing_of_its_cause() -> None:
    status = internal_status()
    info = detail(status, error_details_pb2.ErrorInfo)
    assert info
    assert info.reason == "INTERNAL"
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
