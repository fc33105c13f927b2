from __future__ import annotations

import pytest

from herdbook.core.retrying import PATIENCE, Backoff
from herdbook.errors import (
    AliasNotFound,
    ConnectionLost,
    Draining,
    ErrorDetails,
    HerdbookError,
    Internal,
    Unavailable,
)
from herdbook.transport.connection import Connection

BACKOFF = Backoff(first_seconds=1, longest_seconds=10, attempts=4)


def test_waits_double_up_to_the_longest() -> None:
    delays = [BACKOFF.delay_seconds(failures, jitter=1) for failures in range(1, 7)]
    assert delays == [1, 2, 4, 8, 10, 10]


def test_waits_are_spread_over_their_upper_half() -> None:
    assert BACKOFF.delay_seconds(2, jitter=0) == 1
    assert BACKOFF.delay_seconds(2, jitter=0.5) == 1.5


@pytest.mark.parametrize("error", [AliasNotFound(), Internal(), HerdbookError()])
def test_only_what_may_pass_is_tried_again(error: HerdbookError) -> None:
    assert BACKOFF.delay_before_repeating(error, 1, repeatable=True, jitter=1) is None


def test_a_call_is_given_up_after_its_attempts() -> None:
    delays = [
        BACKOFF.delay_before_repeating(ConnectionLost(), failures, repeatable=True, jitter=1)
        for failures in range(1, 5)
    ]
    assert delays == [1, 2, 4, None]


def test_a_call_outlasts_the_reconnection_after_an_outage() -> None:
    options = dict(Connection.configured("localhost").channel_options())
    # gRPC spreads its waits by a fifth: github.com/grpc/grpc/blob/master/doc/connection-backoff.md
    longest_seconds = 1.2 * int(options["grpc.max_reconnect_backoff_ms"]) / 1000
    waits = [PATIENCE.delay_seconds(failures, jitter=0) for failures in range(1, PATIENCE.attempts)]
    assert sum(waits) > longest_seconds


def test_what_may_have_taken_effect_is_not_done_twice() -> None:
    assert BACKOFF.delay_before_repeating(Unavailable(), 1, repeatable=False, jitter=1) is None
    assert BACKOFF.delay_before_repeating(Draining(), 1, repeatable=False, jitter=1) == 1


def test_the_wait_that_the_server_asks_for_is_kept() -> None:
    error = Unavailable(details=ErrorDetails(retry_after_seconds=7))
    assert BACKOFF.delay_before_repeating(error, 1, repeatable=True, jitter=1) == 7


def test_a_server_cannot_ask_for_a_wait_without_end() -> None:
    error = Unavailable(details=ErrorDetails(retry_after_seconds=1e9))
    assert BACKOFF.delay_before_repeating(error, 1, repeatable=True, jitter=1) == 60
    assert BACKOFF.delay_after(error, 1, jitter=1) == 60
