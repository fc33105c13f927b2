"""A page token that somebody made up, seal and all, is refused as such on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest

from herdbook.v1 import alias_pb2, event_pb2, fleet_pb2, model_pb2, version_pb2
from herdbook_server.registry.pages import Listing
from tests.support.server import ServerProcess
from tests.support.stubs import Stubs, refusal

MODEL = "forged/tokens"
NEVER: tuple[Any, ...] = (True, 2**63, -(10**400), "a\0b", "\ud800", [], {})
"""What no row holds."""
ODD: tuple[Any, ...] = (None, 1e400, 0.5, -1, "")
"""What some rows hold, and others cannot."""


class List(NamedTuple):
    """A list, how it is called, and a position in it."""

    listing: Listing
    call: Callable[[Stubs, str], object]
    sound: tuple[Any, ...]


def versions(order_by: str, *sound: Any) -> List:
    def call(stubs: Stubs, token: str) -> object:
        request = version_pb2.ListVersionsRequest(model=MODEL, order_by=order_by, page_token=token)
        return stubs.versions.ListVersions(request)

    return List(Listing("versions", (MODEL, "", order_by, False)), call, sound)


LISTS = {
    "versions": versions("", 1),
    "versions by metric": versions("metrics.rmse", 0.5, 1),
    "versions by tag": versions("tags.team desc", "fraud", 1),
    "versions by label": versions("label, size_bytes", "1.0.0", 1, 1),
    "models": List(
        Listing("models", ("", "updated_at", False)),
        lambda stubs, token: stubs.models.ListModels(
            model_pb2.ListModelsRequest(order_by="updated_at", page_token=token)
        ),
        (1, "a"),
    ),
    "events": List(
        Listing("events", (0, MODEL, "", False)),
        lambda stubs, token: stubs.events.ListEvents(
            event_pb2.ListEventsRequest(model=MODEL, page_token=token)
        ),
        (1, 0),
    ),
    "aliases": List(
        Listing("aliases", (MODEL,)),
        lambda stubs, token: stubs.aliases.ListAliases(
            alias_pb2.ListAliasesRequest(model=MODEL, page_token=token)
        ),
        ("a",),
    ),
    "moves": List(
        Listing("moves", (MODEL, None)),
        lambda stubs, token: stubs.aliases.ListAliasMoves(
            alias_pb2.ListAliasMovesRequest(model=MODEL, page_token=token)
        ),
        (1, "a"),
    ),
    "replicas": List(
        Listing("replicas", ("",)),
        lambda stubs, token: stubs.fleet.ListReplicas(
            fleet_pb2.ListReplicasRequest(page_token=token)
        ),
        ("r-1", "fraud/tc@champion"),
    ),
}


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    with Stubs(server.address) as made:
        made.refer(MODEL)
        yield made


def odd_in_one_place(sound: tuple[Any, ...], odd: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for place in range(len(sound)):
        for thing in odd:
            yield (*sound[:place], thing, *sound[place + 1 :])


def is_refused(stubs: Stubs, asked: List, position: tuple[Any, ...]) -> bool:
    """Whether the position is refused, which it may be as a page token only."""
    try:
        asked.call(stubs, asked.listing.token(position))
    except grpc.RpcError as refused:
        answer = refusal(refused)
    else:
        return False
    assert answer == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"), position
    return True


@pytest.mark.parametrize("name", LISTS)
def test_a_forged_token_is_refused_as_such(stubs: Stubs, name: str) -> None:
    asked = LISTS[name]
    sound = asked.sound
    assert not is_refused(stubs, asked, sound)
    for position in ((), sound[:-1], (*sound, 1), sound * 40, *odd_in_one_place(sound, NEVER)):
        assert is_refused(stubs, asked, position), position


@pytest.mark.parametrize("name", LISTS)
def test_an_odd_token_is_answered_or_refused_as_such(stubs: Stubs, name: str) -> None:
    asked = LISTS[name]
    for position in odd_in_one_place(asked.sound, ODD):
        is_refused(stubs, asked, position)
