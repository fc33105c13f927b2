from __future__ import annotations

import pytest

from herdbook.core.values import Bookmark, ReferenceState, Replica, Resolution
from herdbook.core.watching import BACKOFF, RegistryReset, Watch
from herdbook.errors import (
    ConnectionLost,
    Draining,
    ErrorDetails,
    ForkedProcess,
    PermissionDenied,
    ReferenceInvalid,
    ResponseInvalid,
    WatchTooWide,
)
from herdbook.v1 import alias_pb2, version_pb2


def state(revision: int, version: int | None = 1, reference: str = "m@a") -> bytes:
    resolution = version and version_pb2.Resolution(model="m", version=version)
    named = alias_pb2.ReferenceState(reference=reference, resolution=resolution, revision=revision)
    return alias_pb2.WatchAliasesResponse(state=named).SerializeToString()


def bookmark(revision: int) -> bytes:
    mark = alias_pb2.Bookmark(revision=revision, initial_done=True)
    return alias_pb2.WatchAliasesResponse(bookmark=mark).SerializeToString()


def test_states_are_told_with_growing_revisions_alone() -> None:
    watch = Watch.of("m@a")
    assert watch.read(state(5, 1)) == ReferenceState("m@a", Resolution("m", 1), 5)
    assert watch.read(state(4, 9)) is None
    assert watch.read(state(6, 2)) is not None
    assert watch.revision == 6


def test_a_state_that_says_nothing_new_is_not_told() -> None:
    watch = Watch.of("m@a")
    watch.read(state(5, 1))
    assert watch.read(state(7, 1)) is None
    assert watch.known == (ReferenceState("m@a", Resolution("m", 1), 7),)


def test_references_do_not_hold_each_other_back() -> None:
    watch = Watch.of(["m@a", "m@b"])
    watch.read(state(9, 1, "m@a"))
    assert watch.read(state(3, 1, "m@b")) is not None


def test_a_later_connection_says_what_is_known() -> None:
    watch = Watch.of(["m@a", "m@a"], prefixes=["x/"], replica=Replica("r", "h", "n"))
    watch.read(state(5, 1))
    request = watch.request()
    assert list(request.references) == ["m@a"]
    assert list(request.model_prefixes) == ["x/"]
    assert [(known.reference, known.revision) for known in request.known] == [("m@a", 5)]
    assert (request.replica.id, request.replica.host, request.replica.name) == ("r", "h", "n")


def test_an_onlooker_is_no_replica() -> None:
    assert not Watch.of("m@a").request().HasField("replica")


def test_what_was_known_before_is_not_told_again() -> None:
    watch = Watch.of("m@a", known=[ReferenceState("m@a", Resolution("m", 1), 5)])
    assert watch.read(state(5, 1)) is None
    assert watch.read(state(8, 2)) is not None


def test_an_alias_below_a_prefix_that_is_gone_is_told_once_and_not_kept() -> None:
    watch = Watch.of([], prefixes=["m"])
    watch.read(state(5, 1))
    assert watch.read(state(7, None)) is not None
    assert watch.read(state(9, None)) is None
    assert watch.known == ()


def test_a_watch_that_is_too_wide_is_not_tried_again() -> None:
    watch = Watch.of([], prefixes=["m"])
    watch.read(state(5, 1))
    with pytest.raises(WatchTooWide):
        watch.broke(WatchTooWide(), jitter=0)


def test_waits_grow_and_shrink_again_with_a_word_of_the_server() -> None:
    watch = Watch.of("m@a")
    pauses = [watch.broke(ConnectionLost(), jitter=1).retry_in_seconds for _ in range(9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == BACKOFF.longest_seconds
    watch.read(bookmark(1))
    assert watch.broke(ConnectionLost(), jitter=1).retry_in_seconds == pauses[0]


def test_a_watch_that_fails_for_days_still_knows_how_long_to_wait() -> None:
    watch = Watch.of("m@a")
    for _ in range(5000):
        pause = watch.broke(ConnectionLost(), jitter=0.5).retry_in_seconds
    assert 0 < pause <= BACKOFF.longest_seconds


def test_the_wait_that_the_server_asks_for_is_kept() -> None:
    draining = Draining(details=ErrorDetails(retry_after_seconds=60))
    assert Watch.of("m@a").broke(draining, jitter=0).retry_in_seconds == 60


def test_a_server_cannot_keep_a_watch_away_without_end() -> None:
    draining = Draining(details=ErrorDetails(retry_after_seconds=1e9))
    assert Watch.of("m@a").broke(draining, jitter=0).retry_in_seconds == 60


def test_a_first_connection_that_is_refused_ends_the_watch() -> None:
    with pytest.raises(PermissionDenied):
        Watch.of("m@a").broke(PermissionDenied(), jitter=0)


def test_a_watch_that_was_admitted_once_comes_back_after_any_refusal() -> None:
    watch = Watch.of("m@a")
    watch.read(bookmark(1))
    assert watch.broke(PermissionDenied(), jitter=0).retry_in_seconds > 0


def test_a_fork_ends_the_watch_at_any_time() -> None:
    watch = Watch.of("m@a")
    watch.read(bookmark(1))
    with pytest.raises(ForkedProcess):
        watch.broke(ForkedProcess(), jitter=0)


def test_a_registry_that_was_set_back_is_asked_anew() -> None:
    watch = Watch.of("m@a")
    watch.read(state(50, 3))
    watch.request()
    assert watch.read(bookmark(20)) == Bookmark(20, initial_done=True)
    watch.read(bookmark(21))
    with pytest.raises(RegistryReset):
        watch.read(bookmark(22))
    assert not watch.request().known
    assert watch.read(state(12, 1)) is not None


def test_a_server_that_lags_for_a_moment_resets_nothing() -> None:
    watch = Watch.of("m@a")
    watch.read(state(50, 3))
    for _ in range(5):
        watch.request()
        watch.read(bookmark(49))
        watch.read(bookmark(50))
    assert watch.revision == 50


def test_a_message_that_cannot_be_read_is_an_error_of_the_tree() -> None:
    with pytest.raises(ResponseInvalid):
        Watch.of("m@a").read(b"\xff\xff")


def test_a_kind_of_message_that_came_later_is_ignored() -> None:
    assert Watch.of("m@a").read(b"") is None


@pytest.mark.parametrize("references", [[], ["a@"], "a b"])
def test_there_must_be_something_to_watch(references: list[str] | str) -> None:
    with pytest.raises(ReferenceInvalid):
        Watch.of(references)
