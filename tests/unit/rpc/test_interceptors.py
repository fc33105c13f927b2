"""What surrounds calls behaves alike for every kind of call."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import weakref
from collections.abc import AsyncIterator
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from herdbook.v1 import artifact_pb2 as pb
from herdbook.v1 import artifact_pb2_grpc
from herdbook_server.errors import ChunkMismatch, FileNotFound
from herdbook_server.rpc import calls, interceptors
from herdbook_server.rpc.calls import Call, Context
from herdbook_server.rpc.interceptors import DRAINED_MESSAGES
from herdbook_server.rpc.request_log import RequestLog
from tests.support.waiting import eventually
from tests.unit.rpc.serving import serving

MESSAGE = pb.UploadChunksRequest(model="m", chunks=[pb.Chunk(sha256=b"x" * 32, data=bytes(2**20))])

METHODS = {
    "unary_unary": "FindMissingChunks",
    "stream_unary": "UploadChunks",
    "unary_stream": "ReadFile",
}


class Servicer(artifact_pb2_grpc.ArtifactServiceServicer):
    """Does what a test tells it to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.request_ids: list[str] = []
        self.held: list[weakref.ref[set[int]]] = []
        """What calls have in their frames."""
        self.closed = asyncio.Event()

    async def FindMissingChunks(self, request, context):  # noqa: N802 - the contract names it
        self.request_ids.append(calls.current().request_id)
        held = {id(request)}
        self.held.append(weakref.ref(held))
        if self.error:
            raise self.error
        return pb.FindMissingChunksResponse()

    async def UploadChunks(self, request_iterator, context):  # noqa: N802 - the contract names it
        self.request_ids.append(calls.current().request_id)
        held = {id(await anext(request_iterator))}
        self.held.append(weakref.ref(held))
        if self.error:
            raise self.error
        count = 1
        async for _ in request_iterator:
            count += 1
        return pb.UploadChunksResponse(chunk_count=count)

    async def ReadFile(self, request, context):  # noqa: N802 - the contract names it
        self.request_ids.append(calls.current().request_id)
        try:
            yield pb.ReadFileResponse(data=b"moo")
            if self.error:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.closed.set()


@pytest.fixture
async def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def stub(servicer: Servicer) -> AsyncIterator[artifact_pb2_grpc.ArtifactServiceStub]:
    async with serving(servicer, layers=[RequestLog()]) as served:
        yield artifact_pb2_grpc.ArtifactServiceStub(served.channel)


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in the details of a refusal."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info.reason


def upload_endlessly(address: str) -> grpc.StatusCode:
    """Upload by a client on threads until the server has enough."""
    with grpc.insecure_channel(address) as channel:
        stub = artifact_pb2_grpc.ArtifactServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadChunks(itertools.repeat(MESSAGE))
        return caught.value.code()


async def test_a_call_that_lets_go_of_its_request_is_the_last_that_held_it() -> None:
    class Request:
        pass

    async def watch(request: Request, _: Context) -> None:
        held.append(weakref.ref(request))
        del request
        held.append(held.pop()())

    held: list[object] = []
    await interceptors._responding(watch, bytes)(Request(), cast("Context", None))
    assert held == [None]


async def test_a_refused_call_keeps_nothing_that_it_held(servicer, stub) -> None:
    servicer.error = FileNotFound("There is none.")
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.FindMissingChunks(pb.FindMissingChunksRequest())
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.UploadChunks(iter([MESSAGE]))
        servicer.error = None
        await eventually(lambda: [held() for held in servicer.held] == [None, None], "all is free")
    finally:
        gc.enable()


async def test_a_refused_unary_call_has_status_reason_and_request_id(servicer, stub) -> None:
    servicer.error = FileNotFound("There is none.")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.FindMissingChunks(
            pb.FindMissingChunksRequest(), metadata=[("herdbook-request-id", "cow-7")]
        )
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "There is none."
    assert reason(caught.value) == "FILE_NOT_FOUND"
    assert dict(caught.value.trailing_metadata())["herdbook-request-id"] == "cow-7"
    assert servicer.request_ids == ["cow-7"]


async def test_a_call_without_request_id_gets_one(servicer, stub) -> None:
    call = stub.FindMissingChunks(pb.FindMissingChunksRequest())
    await call
    trailers = dict(await call.trailing_metadata())
    assert [trailers["herdbook-request-id"]] == servicer.request_ids


async def test_a_refused_response_stream_has_its_reason(servicer, stub) -> None:
    servicer.error = FileNotFound("There is none.")
    call = stub.ReadFile(pb.ReadFileRequest())
    assert (await call.read()).data == b"moo"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert reason(caught.value) == "FILE_NOT_FOUND"


async def test_an_upload_refused_midway_learns_why_whatever_it_still_sends(servicer, stub) -> None:
    servicer.error = ChunkMismatch("Wrong bytes.")
    for _ in range(10):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UploadChunks(MESSAGE for _ in range(DRAINED_MESSAGES // 2))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason(caught.value) == "CHUNK_MISMATCH"


async def test_an_endless_upload_ends_with_its_refusal(servicer) -> None:
    """From here on the asyncio client alone may lose the status (grpc#36066)."""
    servicer.error = ChunkMismatch("Wrong bytes.")
    async with serving(servicer) as served:
        code = await asyncio.to_thread(upload_endlessly, served.address)
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_upload_refused_while_it_is_idle_learns_why(servicer, stub, monkeypatch) -> None:
    monkeypatch.setattr(interceptors, "DRAIN_SECONDS", 0.1)
    servicer.error = ChunkMismatch("Wrong bytes.")
    idle = asyncio.Event()

    async def upload() -> AsyncIterator[pb.UploadChunksRequest]:
        yield MESSAGE
        await idle.wait()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.UploadChunks(upload())
    assert reason(caught.value) == "CHUNK_MISMATCH"


async def test_a_failure_of_ours_is_logged_and_leaks_nothing(servicer, stub, caplog) -> None:
    servicer.error = RuntimeError("the password is swordfish")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.FindMissingChunks(pb.FindMissingChunksRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert reason(caught.value) == "INTERNAL"
    assert "swordfish" not in str(caught.value)
    failures = [record for record in caplog.records if record.exc_info]
    assert "swordfish" in str(failures[0].exc_info)


@pytest.mark.parametrize("kind", ["unary_unary", "stream_unary", "unary_stream"])
async def test_bytes_that_are_no_message_are_the_callers_fault(servicer, kind) -> None:
    garbage = b"\xff\xff\xff"
    method = METHODS[kind]
    async with serving(servicer) as served:
        invoke = getattr(served.channel, kind)(f"/herdbook.v1.ArtifactService/{method}")
        call = invoke(iter([garbage]) if kind == "stream_unary" else garbage)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if kind == "unary_stream" else call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == "FIELD_INVALID"


async def test_a_servicer_cleans_up_when_its_caller_leaves(servicer, stub) -> None:
    call = stub.ReadFile(pb.ReadFileRequest())
    await call.read()
    call.cancel()
    await eventually(servicer.closed.is_set, "the servicer has cleaned up")


async def test_calls_are_logged_with_how_they_ended(servicer, stub, caplog) -> None:
    servicer.error = FileNotFound("There is none.")
    caplog.set_level(logging.DEBUG, logger="herdbook_server.requests")
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.UploadChunks([MESSAGE])
    servicer.error = None
    await stub.FindMissingChunks(pb.FindMissingChunksRequest())
    refused, read = caplog.records
    assert refused.levelno == logging.INFO
    assert refused.fields["reason"] == "FILE_NOT_FOUND"
    assert refused.fields["received_bytes"] >= 2**20
    assert read.levelno == logging.DEBUG
    assert read.fields["code"] == "OK"


async def test_a_method_that_does_not_exist_is_unimplemented(servicer) -> None:
    async with serving(servicer) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.channel.unary_unary("/herdbook.v1.ArtifactService/Moo")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_write_that_fails_means_that_the_caller_has_left() -> None:
    class Left:
        async def write(self, data: bytes) -> None:
            raise grpc.aio.InternalError

    call = Call("/x/Y", cast("Context", Left()), {}, "id")
    with pytest.raises(asyncio.CancelledError):
        await call.write(b"moo")
