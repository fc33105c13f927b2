"""Large requests take turns, and none waits for ever behind too many."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from herdbook.v1 import artifact_pb2 as pb
from herdbook.v1 import artifact_pb2_grpc
from herdbook_server.errors import Overloaded
from herdbook_server.rpc.large_requests import LARGE_BYTES, LargeRequests
from tests.support.waiting import eventually
from tests.unit.rpc.serving import serving

MIB = 2**20


class Caller:
    """Makes a request of some size, and ends when told to."""

    def __init__(self, requests: LargeRequests, size_bytes: int) -> None:
        self.admitted = asyncio.Event()
        self.go_on = asyncio.Event()
        self.task = asyncio.create_task(self._call(requests, size_bytes))

    async def _call(self, requests: LargeRequests, size_bytes: int) -> None:
        async with requests.admitted(size_bytes):
            self.admitted.set()
            await self.go_on.wait()

    async def end(self) -> None:
        self.go_on.set()
        await self.task


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_does_not_fit_beside_the_others_waits_and_the_first_to_come_is_served() -> None:
    requests = LargeRequests(at_once_bytes=4 * MIB)
    first, second, third = (Caller(requests, size * MIB) for size in (3, 2, 1))
    await settled()
    assert [one.admitted.is_set() for one in (first, second, third)] == [True, False, False]
    await first.end()
    await settled()
    assert second.admitted.is_set()
    assert third.admitted.is_set()
    await second.end()
    await third.end()


async def test_what_is_larger_than_all_that_may_be_at_once_comes_alone() -> None:
    requests = LargeRequests(at_once_bytes=MIB)
    large, other = Caller(requests, 9 * MIB), Caller(requests, MIB)
    await settled()
    assert large.admitted.is_set()
    assert not other.admitted.is_set()
    await large.end()
    await other.end()


async def test_small_requests_wait_for_nobody() -> None:
    requests = LargeRequests(at_once_bytes=MIB, waiting_max_bytes=MIB)
    large = Caller(requests, MIB)
    small = Caller(requests, LARGE_BYTES - 1)
    await settled()
    assert small.admitted.is_set()
    await small.end()
    await large.end()


async def test_a_request_is_refused_when_too_much_waits() -> None:
    requests = LargeRequests(at_once_bytes=MIB, waiting_max_bytes=2 * MIB)
    callers = [Caller(requests, MIB) for _ in range(3)]
    await settled()
    with pytest.raises(Overloaded) as caught:
        async with requests.admitted(MIB):
            pass
    assert caught.value.retry_after_seconds
    for caller in callers:
        await caller.end()


async def test_who_leaves_while_it_waits_leaves_its_place_to_others() -> None:
    requests = LargeRequests(at_once_bytes=MIB, waiting_max_bytes=MIB)
    first, gone = Caller(requests, MIB), Caller(requests, MIB)
    await settled()
    gone.task.cancel()
    await asyncio.gather(gone.task, return_exceptions=True)
    last = Caller(requests, MIB)
    await first.end()
    await settled()
    assert last.admitted.is_set()
    await last.end()


class Servicer(artifact_pb2_grpc.ArtifactServiceServicer):
    """Answers none before it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.go_on = asyncio.Event()

    async def FindMissingChunks(self, request, context):  # noqa: N802 - the contract names it
        self.count += 1
        await self.go_on.wait()
        return pb.FindMissingChunksResponse()

    async def DownloadChunks(self, request, context):  # noqa: N802 - the contract names it
        self.count += 1
        await self.go_on.wait()
        yield pb.DownloadChunksResponse()
        await asyncio.Event().wait()


@pytest.fixture
def long_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any method have requests as large as a message."""
    monkeypatch.setattr("herdbook_server.rpc.interceptors.REQUEST_MAX_BYTES", 16 * MIB)


async def test_a_request_that_is_too_large_for_its_method_is_refused_before_it_is_decoded() -> None:
    servicer = Servicer()
    request = pb.FindMissingChunksRequest(model="m", sha256=[bytes(3 * MIB)])
    async with serving(servicer) as served:
        stub = artifact_pb2_grpc.ArtifactServiceStub(served.channel)
        with pytest.raises(grpc.aio.AioRpcError, match="2097152 is the most") as caught:
            await stub.FindMissingChunks(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert servicer.count == 0


@pytest.mark.usefixtures("long_requests")
async def test_a_server_answers_few_large_requests_at_once_and_all_of_them_in_the_end() -> None:
    servicer = Servicer()
    request = pb.FindMissingChunksRequest(model="m", sha256=[bytes(3 * MIB)])
    async with serving(servicer) as served:
        stub = artifact_pb2_grpc.ArtifactServiceStub(served.channel)
        calls = [stub.FindMissingChunks(request) for _ in range(12)]
        await eventually(lambda: servicer.count >= 7, "the first requests were taken")
        small = stub.FindMissingChunks(pb.FindMissingChunksRequest())
        await eventually(lambda: servicer.count >= 8, "a small one was taken beside them")
        assert servicer.count == 8
        servicer.go_on.set()
        await asyncio.gather(small, *calls)
    assert servicer.count == 13
    assert {await call.code() for call in calls} == {grpc.StatusCode.OK}


@pytest.mark.usefixtures("long_requests")
async def test_a_stream_holds_room_for_its_request_until_its_first_answer() -> None:
    servicer = Servicer()
    request = pb.DownloadChunksRequest(model="m", sha256=[bytes(3 * MIB)])
    async with serving(servicer) as served:
        stub = artifact_pb2_grpc.ArtifactServiceStub(served.channel)
        streams = [stub.DownloadChunks(request) for _ in range(12)]
        await eventually(lambda: servicer.count >= 7, "the first requests were taken")
        await settled()
        assert servicer.count == 7
        servicer.go_on.set()
        for stream in streams:
            assert await stream.read() == pb.DownloadChunksResponse()
        for stream in streams:
            stream.cancel()
    assert servicer.count == 12
