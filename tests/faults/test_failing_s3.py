"""An S3 that fails is an error that passes, or none at all; what comes of it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.failing_s3 import altogether, now_and_then
from tests.faults.killed_push import MIB


@pytest.mark.parametrize("direct", [False, True], ids=["through", "past"])
def test_what_fails_now_and_then_reaches_no_user(tmp_path: Path, direct: bool) -> None:  # noqa: FBT001
    outcome = now_and_then(tmp_path, size_bytes=48 * MIB, probability=0.05, direct=direct)
    assert outcome.faults
    assert outcome.whole
    assert outcome.refusals == []


@pytest.mark.parametrize("direct", [False, True], ids=["through", "past"])
def test_what_fails_for_a_while_is_whole_in_the_end(tmp_path: Path, direct: bool) -> None:  # noqa: FBT001
    outcome = altogether(tmp_path, size_bytes=48 * MIB, seconds=3.0, direct=direct)
    assert outcome.faults
    assert outcome.whole
    assert set(outcome.refusals) <= {"STORE_UNAVAILABLE"}
