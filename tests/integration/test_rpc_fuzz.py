"""Whatever message comes, the answer is an answer: no INTERNAL, no hang."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herdbook.v1 import (
    alias_pb2,
    artifact_pb2,
    event_pb2,
    fleet_pb2,
    model_pb2,
    server_pb2,
    version_pb2,
)
from tests.support.messages import MODEL, messages
from tests.support.server import ServerProcess
from tests.support.stubs import Stubs, details

TIMEOUT_SECONDS = 20
BUGS = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
FILES = (alias_pb2, artifact_pb2, event_pb2, fleet_pb2, model_pb2, server_pb2, version_pb2)
METHODS = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
ENDLESS = "WatchAliases"

fuzzed = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def sync_channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    """A channel to a server where the model that most messages are about exists."""
    with Stubs(server.address) as stubs:
        with contextlib.suppress(grpc.RpcError):
            stubs.models.RestoreModel(model_pb2.RestoreModelRequest(model=MODEL))
        version = stubs.push(MODEL, b"moo")
        stubs.aliases.SetAlias(
            alias_pb2.SetAliasRequest(model=MODEL, alias="champion", version=version.number)
        )
        yield stubs.channel


def of_kind(*, request_streams: bool) -> list[MethodDescriptor]:
    return [method for method in METHODS if method.client_streaming == request_streams]


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def invoke(channel: grpc.Channel, method: MethodDescriptor) -> Callable[..., object]:
    """A function that calls the method and takes all it answers, or the first word if endless."""
    kind = "stream_" if method.client_streaming else "unary_"
    kind += "stream" if method.server_streaming else "unary"
    call = getattr(channel, kind)(
        path(method),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    if not method.server_streaming:
        return lambda request: call(request, timeout=TIMEOUT_SECONDS)

    def take(request: object) -> object:
        responses = call(request, timeout=TIMEOUT_SECONDS)
        try:
            return next(responses, None) if method.name == ENDLESS else list(responses)
        finally:
            responses.cancel()

    return take


def expect_an_answer(call: Callable[..., object], request: object) -> None:
    """Call; a refusal must be one of the contract's, with its reason."""
    try:
        call(request)
    except grpc.RpcError as caught:
        error = caught
    else:
        return
    assert error.code() not in BUGS, f"{error}\n{request}"
    assert details(error).domain == "herdbook"


@pytest.mark.parametrize("method", of_kind(request_streams=False), ids=lambda method: method.name)
def test_any_message_is_answered(sync_channel: grpc.Channel, method: MethodDescriptor) -> None:
    call = invoke(sync_channel, method)

    @fuzzed
    @given(request=messages(method.input_type))
    def answered(request: Message) -> None:
        expect_an_answer(call, request)

    answered()


@pytest.mark.parametrize("method", of_kind(request_streams=True), ids=lambda method: method.name)
def test_any_stream_is_answered(sync_channel: grpc.Channel, method: MethodDescriptor) -> None:
    call = invoke(sync_channel, method)

    @fuzzed
    @given(requests=st.lists(messages(method.input_type), max_size=4))
    def answered(requests: list[Message]) -> None:
        expect_an_answer(call, iter(requests))

    answered()


@fuzzed
@given(data=st.binary(max_size=60), method=st.sampled_from(of_kind(request_streams=False)))
def test_bytes_that_are_no_message_are_answered(
    sync_channel: grpc.Channel, data: bytes, method: MethodDescriptor
) -> None:
    unary = sync_channel.unary_stream if method.server_streaming else sync_channel.unary_unary

    def call(request: bytes) -> None:
        answer = unary(path(method))(request, timeout=TIMEOUT_SECONDS)
        if method.server_streaming:
            next(answer, None)
            answer.cancel()

    expect_an_answer(call, data)


def test_the_server_has_found_no_fault_with_itself(server: ServerProcess) -> None:
    """Runs last in this file: what was answered above left no traceback in the log."""
    lines = [json.loads(line) for line in server.read_log().splitlines()]
    assert not [line for line in lines if "exception" in line]
