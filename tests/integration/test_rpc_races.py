"""Many clients write at once: numbers have no gap, and a race has one winner."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from herdbook.v1 import alias_pb2, event_pb2, version_pb2
from tests.support.server import Engines, ServerProcess
from tests.support.stubs import Stubs, details, refusal, unique

PROCESSES = 8
VERSIONS_EACH = 50
RIVALS = 32
MOVES = 30
SERVERS = {"sqlite+local": 1, "postgres+s3": 2}


@pytest.fixture
def addresses(engines: Engines, tmp_path: Path) -> Iterator[list[str]]:
    """Servers that share engines: two where that is possible."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(ServerProcess(engines, tmp_path)).address
            for _ in range(SERVERS[engines.name])
        ]


def test_eight_processes_register_fifty_versions_each(addresses: list[str]) -> None:
    model = unique("raced")
    command = [sys.executable, "-m", "tests.support.registrar"]
    registrars = [
        subprocess.Popen([*command, address, model, str(VERSIONS_EACH)], stdout=subprocess.PIPE)
        for address in itertools.islice(itertools.cycle(addresses), PROCESSES)
    ]
    answers = [registrar.communicate(timeout=100)[0] for registrar in registrars]
    numbers = [number for answer in answers for number in json.loads(answer)]
    assert sorted(numbers) == list(range(1, PROCESSES * VERSIONS_EACH + 1))
    with Stubs(addresses[-1]) as stubs:
        request = version_pb2.ListVersionsRequest(model=model, page_size=1000)
        listed = [version.number for version in stubs.versions.ListVersions(request).versions]
    assert listed == sorted(numbers, reverse=True)


def test_of_rivals_that_expect_the_same_one_wins(addresses: list[str]) -> None:
    model = unique("raced")
    clients = [Stubs(address) for address in addresses]
    for _ in range(RIVALS + 1):
        clients[0].refer(model)
    clients[0].aliases.SetAlias(
        alias_pb2.SetAliasRequest(model=model, alias="champion", version=RIVALS + 1)
    )

    def move(version: int) -> tuple[str, str]:
        request = alias_pb2.SetAliasRequest(
            model=model, alias="champion", version=version, expected_version=RIVALS + 1
        )
        try:
            clients[version % len(clients)].aliases.SetAlias(request)
        except grpc.RpcError as error:
            return refusal(error)[1], details(error).metadata["current_version"]
        return "won", str(version)

    with ThreadPoolExecutor(RIVALS) as rivals:
        outcomes = Counter(rivals.map(move, range(1, RIVALS + 1)))
    winner = next(version for outcome, version in outcomes if outcome == "won")
    assert outcomes == {("won", winner): 1, ("ALIAS_MOVED", winner): RIVALS - 1}
    assert _moves(clients[-1], model) == [(0, RIVALS + 1), (RIVALS + 1, int(winner))]
    for client in clients:
        client.channel.close()


def test_retries_of_one_request_make_one_version(addresses: list[str]) -> None:
    model, request_id = unique("raced"), "5f1c0f6e-9d0a-4c55-8f0e-0a6a2f3f9b7c"
    clients = [Stubs(address) for address in addresses]
    with ThreadPoolExecutor(16) as pool:
        made = list(
            pool.map(
                lambda index: clients[index % len(clients)].refer(model, request_id=request_id),
                range(16),
            )
        )
    assert {version.number for version in made} == {1}
    for client in clients:
        client.channel.close()


def test_watchers_of_every_server_end_at_the_latest_state(addresses: list[str]) -> None:
    model = unique("watched")
    clients = [Stubs(address) for address in addresses]
    for _ in range(MOVES):
        clients[0].refer(model)
    request = alias_pb2.WatchAliasesRequest(references=[f"{model}@champion"])
    watches = [client.aliases.WatchAliases(request) for client in clients]
    for watch in watches:
        assert next(watch).state.missing_reason == "ALIAS_NOT_FOUND"
    for version in range(1, MOVES + 1):
        clients[version % len(clients)].aliases.SetAlias(
            alias_pb2.SetAliasRequest(model=model, alias="champion", version=version)
        )
    for watch in watches:
        seen = list(_until(watch, version=MOVES))
        assert seen == sorted(seen)
        assert len(seen) == len(set(seen))
    for client in clients:
        client.channel.close()


def _until(
    watch: Iterator[alias_pb2.WatchAliasesResponse], *, version: int
) -> Iterator[tuple[int, int]]:
    """Revisions and versions that a watch tells of, until it has told of that version."""
    for update in watch:
        state = update.state
        if update.HasField("state"):
            yield state.revision, state.resolution.version
        if state.resolution.version == version:
            return


def _moves(stubs: Stubs, model: str) -> list[tuple[int, int]]:
    """From where to where the alias moved, by its events."""
    request = event_pb2.ListEventsRequest(model=model, page_size=1000)
    return [
        (int(event.from_value or 0), int(event.to_value))
        for event in stubs.events.ListEvents(request).events
        if event.kind == event_pb2.EVENT_KIND_ALIAS_SET
    ]
