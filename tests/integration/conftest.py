"""Servers for integration tests, on the embedded engines and on those that many servers share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from herdbook_server.app import RunningServer, running
from herdbook_server.settings import read_settings
from tests.support.server import ENGINES, Engines, ServerProcess, fresh_engines


@pytest.fixture(scope="session", params=ENGINES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A server process that all tests share, one for each kind of engines: name models apart."""
    home = tmp_path_factory.mktemp("server")
    with fresh_engines(request.param, home, request) as engines, ServerProcess(engines, home) as it:
        yield it


@pytest.fixture(params=ENGINES)
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engines]:
    """Empty engines of a test's own."""
    with fresh_engines(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture
def own_server(engines: Engines, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server process of a test's own, to be killed and started again."""
    with ServerProcess(engines, tmp_path) as process:
        yield process


@pytest.fixture
def embedded_engines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engines]:
    """Empty engines of the embedded default."""
    with fresh_engines("sqlite+local", tmp_path, request) as made:
        yield made


@pytest.fixture
async def embedded_server(embedded_engines: Engines) -> AsyncIterator[RunningServer]:
    """A server of a test's own in this process and event loop, on the embedded engines."""
    settings = read_settings(listen="127.0.0.1:0", drain_seconds=1.0, **embedded_engines.settings)
    async with running(settings) as started:
        yield started


@pytest.fixture
async def channel(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the shared server."""
    async with grpc.aio.insecure_channel(server.address) as made:
        yield made
