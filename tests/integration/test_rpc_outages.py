"""While what a server rests on is away, it says so; when it is back, so is the server."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from herdbook.v1 import version_pb2
from herdbook_server.app import running
from herdbook_server.settings import read_settings
from herdbook_server.storage.chunks.syncing import Syncing
from tests.support.ports import LOOPBACK
from tests.support.postgres import PostgresCluster, private_directory
from tests.support.server import Engines, ServerProcess
from tests.support.stubs import Stubs, refusal
from tests.support.waiting import wait_until

MODEL = "fraud/tc"
ARTIFACTS = "herdbook.v1.ArtifactService"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
OFTEN = {"health_interval_seconds": "0.1"}


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    with private_directory() as home:
        yield PostgresCluster.create(home)


def is_serving(stubs: Stubs, service: str = "") -> bool:
    """What a health check says of a service."""
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(stubs.channel).Check(request)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def resolve(stubs: Stubs) -> int:
    request = version_pb2.ResolveReferenceRequest(reference=MODEL)
    return stubs.versions.ResolveReference(request).resolution.version


def test_a_server_outlives_an_outage_of_its_database(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    settings = {"data": str(tmp_path / "data"), "database": cluster.dsn}
    server = ServerProcess(Engines("postgres+local", settings, {}), tmp_path, **OFTEN)
    with Stubs(server.address) as stubs:
        with cluster.serve():
            server.start()
            stubs.refer(MODEL)
        with pytest.raises(grpc.RpcError) as caught:
            resolve(stubs)
        assert refusal(caught.value) == (UNAVAILABLE, "DATABASE_UNAVAILABLE")
        wait_until(lambda: not is_serving(stubs), "the server says that it does not serve")
        with cluster.serve():
            wait_until(lambda: is_serving(stubs), "the server serves again")
            assert resolve(stubs) == 1
            assert stubs.refer(MODEL).number == 2
            assert server.terminate() == 0


def test_without_its_chunk_store_a_server_still_resolves(
    embedded_engines: Engines, tmp_path: Path
) -> None:
    chunks = Path(embedded_engines.settings["data"]) / "artifacts" / "chunks"
    with (
        ServerProcess(embedded_engines, tmp_path, **OFTEN) as server,
        Stubs(server.address) as stubs,
    ):
        stubs.push(MODEL, b"moo")
        away = chunks.rename(chunks.with_name("away"))
        wait_until(lambda: not is_serving(stubs, ARTIFACTS), "artifacts are not served")
        assert is_serving(stubs)
        assert resolve(stubs) == 1
        for call in (lambda: stubs.upload(MODEL, [b"more"]), lambda: stubs.read(MODEL)):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert refusal(caught.value) == (UNAVAILABLE, "STORE_UNAVAILABLE")
            assert str(tmp_path) not in caught.value.details()
        away.rename(chunks)
        wait_until(lambda: is_serving(stubs, ARTIFACTS), "artifacts are served again")
        assert stubs.read(MODEL) == b"moo"


def test_a_lost_chunk_is_named_and_pushing_it_again_heals_it(
    embedded_engines: Engines, tmp_path: Path
) -> None:
    chunks = Path(embedded_engines.settings["data"]) / "artifacts" / "chunks"
    with ServerProcess(embedded_engines, tmp_path) as server, Stubs(server.address) as stubs:
        stubs.push(MODEL, b"moo")
        stored = next(path for path in chunks.glob("*/*"))
        for damage in (b"baa", b"longer", None):
            stored.unlink()
            if damage is not None:
                stored.write_bytes(damage)
            with pytest.raises(grpc.RpcError) as caught:
                stubs.read(MODEL)
            assert refusal(caught.value) == (grpc.StatusCode.DATA_LOSS, "CHUNK_LOST")
            assert stored.name in caught.value.details()
            assert len(stubs.missing(MODEL, [b"moo"])) == 1
            stubs.upload(MODEL, [b"moo"])
            assert stubs.read(MODEL) == b"moo"


async def test_a_server_whose_disk_is_full_starts_and_is_read(
    embedded_engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings(listen=f"{LOOPBACK}:0", **embedded_engines.settings)
    async with running(settings) as server:
        with Stubs(server.address) as stubs:
            await asyncio.to_thread(stubs.push, MODEL, b"moo")
    monkeypatch.setattr(Syncing, "files", find_no_room)
    async with running(settings) as server:
        with Stubs(server.address) as stubs:
            assert await asyncio.to_thread(stubs.read, MODEL) == b"moo"
            assert await asyncio.to_thread(is_serving, stubs, ARTIFACTS)
            with pytest.raises(grpc.RpcError) as caught:
                await asyncio.to_thread(stubs.upload, MODEL, [b"more"])
    assert refusal(caught.value) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")


def find_no_room(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")
