from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from herdbook import AsyncClient, Client
from tests.support.fake_registry import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def client(registry: FakeRegistry) -> Iterator[Client]:
    with Client(registry.server, cache=False, timeout_seconds=20) as made:
        yield made


@pytest.fixture
async def aclient(registry: FakeRegistry) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(registry.server, cache=False, timeout_seconds=20) as made:
        yield made
