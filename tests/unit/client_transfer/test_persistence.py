from __future__ import annotations

import pytest

from herdbook.core.retrying import Contact
from herdbook.errors import (
    Cancelled,
    ChunkLost,
    ConnectionLost,
    DeadlineExceeded,
    EncryptionMismatch,
    ErrorDetails,
    HerdbookError,
    Unavailable,
)
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.persistence import Attempts, Persistence, stream_timeout_seconds


@pytest.fixture
def cancel() -> CancelToken:
    return CancelToken()


@pytest.fixture
def contact() -> Contact:
    return Contact()


@pytest.fixture
def persistence(cancel: CancelToken, contact: Contact, hurried: None) -> Persistence:
    return Persistence(cancel, contact)


def endured(attempts: Attempts, error: HerdbookError) -> int:
    """Counts the failures up to the one that is raised."""
    count = 0
    while True:
        count += 1
        try:
            attempts.failed(error)
        except type(error):
            return count


def test_a_server_that_never_answered_is_given_up_soon(persistence: Persistence) -> None:
    assert endured(persistence.attempts(), ConnectionLost()) == 3


def test_a_server_that_answered_is_waited_for(persistence: Persistence) -> None:
    persistence.answered()
    assert endured(persistence.attempts(), DeadlineExceeded()) == 10


def test_a_server_that_answered_another_call_is_waited_for(
    persistence: Persistence, contact: Contact
) -> None:
    contact.answered = True
    assert endured(persistence.attempts(), ConnectionLost()) == 10


def test_progress_starts_the_count_anew(persistence: Persistence) -> None:
    attempts = persistence.attempts()
    attempts.failed(ConnectionLost())
    attempts.failed(ConnectionLost())
    attempts.progressed()
    assert endured(attempts, ConnectionLost()) == 10


@pytest.mark.parametrize("error", [ChunkLost(), EncryptionMismatch()])
def test_what_another_attempt_cannot_help_is_raised_at_once(
    persistence: Persistence, error: HerdbookError
) -> None:
    assert endured(persistence.attempts(), error) == 1


def test_a_transfer_that_was_given_up_says_so(
    persistence: Persistence, cancel: CancelToken
) -> None:
    cancel.cancel()
    with pytest.raises(Cancelled):
        persistence.attempts().failed(ConnectionLost())


class NoWait(CancelToken):
    """Notes how long it should wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_a_server_cannot_make_a_transfer_wait_without_end() -> None:
    cancel = NoWait()
    error = Unavailable(details=ErrorDetails(retry_after_seconds=1e9))
    Persistence(cancel, Contact()).attempts().failed(error)
    assert cancel.waits == [60]


def test_a_large_stream_has_more_time_than_a_small_one() -> None:
    assert stream_timeout_seconds(0, timeout_seconds=30) == 30
    assert stream_timeout_seconds(64 * 1024 * 1024, timeout_seconds=30) == 30 + 1024
