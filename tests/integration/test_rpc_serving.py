"""A server starts with a word or says in one why not, and ends without surprising anybody."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from herdbook.v1 import alias_pb2, alias_pb2_grpc, artifact_pb2, server_pb2, server_pb2_grpc
from herdbook_server.app import RunningServer, StartFailed, running
from herdbook_server.settings import read_settings
from tests.support.ports import LOOPBACK
from tests.support.server import Engines, ServerProcess
from tests.support.stubs import CHUNK_BYTES, Stubs, cut, random_bytes, refusal, sha256
from tests.support.waiting import wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
SERVICE = "herdbook.v1.AliasService"


async def test_a_server_says_what_it_is(server: ServerProcess, channel: grpc.aio.Channel) -> None:
    stub = server_pb2_grpc.ServerServiceStub(channel)
    info = await stub.GetServerInfo(
        server_pb2.GetServerInfoRequest(), metadata=[("herdbook-actor", "alice@barn")]
    )
    assert (info.database, info.chunk_store) in {("sqlite", "local"), ("postgresql", "s3")}
    assert info.actor == "anonymous:alice@barn"
    assert info.max_chunk_bytes == 2 * 1024 * 1024
    assert info.software_version


@pytest.mark.parametrize("service", ["", "herdbook.v1.ArtifactService", "herdbook.v1.AliasService"])
async def test_a_server_that_runs_is_healthy(channel: grpc.aio.Channel, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == SERVING


async def test_a_server_describes_its_services(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request])):
        names = {service.name for service in response.list_services_response.service}
    assert {"herdbook.v1.AliasService", "grpc.health.v1.Health"} < names


async def test_a_server_runs_inside_of_another_program(embedded_server: RunningServer) -> None:
    async with grpc.aio.insecure_channel(embedded_server.address) as channel:
        stub = server_pb2_grpc.ServerServiceStub(channel)
        info = await stub.GetServerInfo(server_pb2.GetServerInfoRequest())
    assert info.database == "sqlite"


async def test_a_server_that_drains_says_so_before_it_ends_watches(
    embedded_engines: Engines,
) -> None:
    settings = read_settings(listen=f"{LOOPBACK}:0", drain_seconds=5.0, **embedded_engines.settings)
    drained = asyncio.Event()
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with running(settings) as server:
            started.set_result(server.address)
            await drained.wait()

    serving = asyncio.create_task(serve())
    async with grpc.aio.insecure_channel(await started) as channel:
        request = health_pb2.HealthCheckRequest()
        health = health_pb2_grpc.HealthStub(channel).Watch(request)
        assert (await health.read()).status == SERVING
        watch = alias_pb2_grpc.AliasServiceStub(channel).WatchAliases(
            alias_pb2.WatchAliasesRequest(references=["fraud/tc@champion"])
        )
        assert (await watch.read()).state.missing_reason == "MODEL_NOT_FOUND"
        drained.set()
        assert (await health.read()).status == NOT_SERVING
        health.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_to_the_end(watch)
    assert refusal(caught.value) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    await serving


async def test_a_server_that_ends_does_not_wait_for_those_who_watch_its_health_or_ask_on(
    embedded_engines: Engines, tmp_path: Path
) -> None:
    with ServerProcess(embedded_engines, tmp_path, drain_seconds="120") as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            named = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="no.such.Service"))
            asking = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            await asking.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            assert (await asking.read()).HasField("list_services_response")
            assert (await named.read()).status == SERVING
            assert (await unknown.read()).status == SERVICE_UNKNOWN
            server.process.terminate()
            assert (await named.read()).status == NOT_SERVING
            for stream in (named, unknown, asking):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stream.read()
                assert refusal(caught.value) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
            assert await asyncio.to_thread(server.process.wait, 30) == 0


def test_a_server_asked_to_end_ends_watches_and_itself(own_server: ServerProcess) -> None:
    with Stubs(own_server.address) as stubs:
        request = alias_pb2.WatchAliasesRequest(references=["fraud/tc@champion"])
        watch = stubs.aliases.WatchAliases(request)
        assert next(watch).state.reference == "fraud/tc@champion"
        own_server.process.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            list(watch)
        assert refusal(caught.value) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert own_server.process.wait(30) == 0
    messages = [json.loads(line)["message"] for line in own_server.read_log().splitlines()]
    assert [message for message in messages if message in {"draining", "stopped"}] == [
        "draining",
        "stopped",
    ]


def test_a_server_asked_twice_to_end_waits_for_nobody(
    embedded_engines: Engines, tmp_path: Path
) -> None:
    never = threading.Event()

    def stalled() -> Iterator[artifact_pb2.UploadChunksRequest]:
        yield artifact_pb2.UploadChunksRequest(model="m")
        never.wait()

    with (
        ServerProcess(embedded_engines, tmp_path, drain_seconds="100") as server,
        Stubs(server.address) as stubs,
    ):
        upload = stubs.artifacts.UploadChunks.future(stalled())
        stubs.refer("m")
        server.process.terminate()
        wait_until(lambda: "draining" in server.read_log(), "the server drains")
        server.process.terminate()
        assert server.process.wait(30) == -signal.SIGTERM
        never.set()
        assert upload.exception(30).code() is grpc.StatusCode.UNAVAILABLE


HANGING = """
import os, time

right = os.open

def hang(path, *rest, **options):
    if str(path).endswith("{name}"):
        time.sleep(3600)
    return right(path, *rest, **options)

os.open = hang
"""


def test_a_server_asked_to_end_does_not_wait_for_a_disk_that_hangs(
    embedded_engines: Engines, tmp_path: Path
) -> None:
    first, second = cut(random_bytes(CHUNK_BYTES + 1))
    digest = sha256(second).hex()
    hanging = HANGING.format(name=f"{digest[:2]}/{digest[2:]}")
    (tmp_path / "sitecustomize.py").write_text(hanging)
    engines = replace(embedded_engines, environment={"PYTHONPATH": str(tmp_path)})
    with (
        ServerProcess(engines, tmp_path, drain_seconds="1") as server,
        Stubs(server.address) as stubs,
    ):
        stubs.push("m", first + second)
        request = artifact_pb2.ReadFileRequest(reference="m", path="model.bin")
        pieces = stubs.artifacts.ReadFile(request)
        assert next(pieces).data
        assert server.terminate() == 0
        with pytest.raises(grpc.RpcError):
            list(pieces)
    assert "hang" in server.read_log()


def test_a_second_server_is_kept_off_the_data_of_the_first(
    embedded_engines: Engines, tmp_path: Path
) -> None:
    with ServerProcess(embedded_engines, tmp_path) as first:
        second = ServerProcess(embedded_engines, tmp_path)
        second.launch()
        assert second.process.wait(30) == 1
        assert one_line(second) == (
            f"herdbook: Another server (process {first.process.pid}) uses the data directory "
            f"{embedded_engines.settings['data']}."
        )


def test_a_server_whose_port_is_taken_says_so(embedded_engines: Engines, tmp_path: Path) -> None:
    with ServerProcess(embedded_engines, tmp_path) as first:
        second = ServerProcess(
            embedded_engines, tmp_path, listen=first.address, data=str(tmp_path / "other")
        )
        second.launch()
        assert second.process.wait(30) == 1
        assert first.address in one_line(second)


@pytest.mark.parametrize(
    "case",
    [
        ({"listen": "0.0.0.0:0"}, 78, "insecure"),
        ({"database": "mysql://barn"}, 78, "database"),
        ({"database": "postgresql://nobody@127.0.0.1:1/none"}, 1, "database"),
        ({"data": "/proc/herdbook"}, 1, "/proc/herdbook"),
        ({"tokens_file": "/nowhere/tokens"}, 1, "/nowhere/tokens"),
        ({"tls_cert": "/nowhere/cert", "tls_key": "/nowhere/key"}, 1, "/nowhere"),
    ],
    ids=lambda case: next(iter(case[0])),
)
def test_a_server_that_cannot_start_says_why_in_a_line(
    embedded_engines: Engines, tmp_path: Path, case: tuple[dict[str, str], int, str]
) -> None:
    settings, code, words = case
    server = ServerProcess(embedded_engines, tmp_path, **settings)
    server.launch()
    assert server.process.wait(60) == code
    assert words in one_line(server)


def test_a_server_whose_bucket_is_missing_says_so(
    s3_endpoint, embedded_engines: Engines, tmp_path: Path
) -> None:
    engines = Engines("sqlite+s3", embedded_engines.settings, s3_endpoint.environment())
    server = ServerProcess(engines, tmp_path, artifacts="s3://no-such-bucket-herdbook/barn")
    server.launch()
    assert server.process.wait(60) == 1
    assert "no-such-bucket-herdbook" in one_line(server)


def test_a_server_on_any_free_port_says_which(embedded_engines: Engines, tmp_path: Path) -> None:
    with (
        ServerProcess(embedded_engines, tmp_path, listen=f"{LOOPBACK}:0") as server,
        Stubs(server.announced_address) as stubs,
    ):
        assert stubs.server.GetServerInfo(server_pb2.GetServerInfoRequest()).database


def test_migrating_twice_is_migrating_once(engines: Engines, tmp_path: Path) -> None:
    server = ServerProcess(engines, tmp_path)
    for _ in range(2):
        command = [sys.executable, "-m", "herdbook_server", "migrate"]
        subprocess.run(command, check=True, env=server.environment(), timeout=60)
    with server:
        assert server.process.poll() is None


async def test_a_start_that_fails_leaves_the_data_free(embedded_engines: Engines) -> None:
    settings = embedded_engines.settings
    with pytest.raises(StartFailed):
        async with running(read_settings(listen="192.0.2.1:1", insecure=True, **settings)):
            pass
    async with running(read_settings(listen=f"{LOOPBACK}:0", **settings)) as server:
        assert server.port


async def read_to_the_end(stream: grpc.aio.UnaryStreamCall) -> None:
    """Read until there is no more, or an error."""
    while await stream.read() is not grpc.aio.EOF:
        pass


def one_line(server: ServerProcess) -> str:
    """All that a server said, which must be a single line."""
    lines = [line for line in server.read_log().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, server.read_log()
    return lines[0]
