"""The exit codes that scripts rely on."""

from __future__ import annotations

import pytest

from herdbook import errors
from herdbook.cli.exits import ExitCode, exit_code_of, exit_code_summary


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ModelNotFound(), 3),
        (errors.AliasMoved(), 4),
        (errors.LabelExists(), 4),
        (errors.VersionInUse(), 4),
        (errors.Unauthenticated(), 5),
        (errors.PermissionDenied(), 5),
        (errors.Draining(), 6),
        (errors.EncryptionMismatch(), 7),
        (errors.DeadlineExceeded(), 6),
        (errors.FilterInvalid(), 7),
        (errors.OffsetOutOfRange(), 7),
        (errors.StoreFull(), 8),
        (errors.LocalDiskFull(), 8),
        (errors.ChunkLost(), 9),
        (errors.Internal(), 1),
        (OSError(), 1),
    ],
)
def test_each_kind_of_error_has_its_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_the_help_explains_every_code() -> None:
    summary = exit_code_summary()
    assert all(f"{code.value} " in summary for code in ExitCode)
