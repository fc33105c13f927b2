"""What the exit codes of the command mean; scripts may rely on them."""

from __future__ import annotations

from enum import IntEnum

from herdbook import errors
from herdbook.errors import HerdbookError


class ExitCode(IntEnum):
    """Why the command ended."""

    OK = 0
    """Done."""

    FAILED = 1
    """Something failed that has no code of its own."""

    USAGE = 2
    """The command line cannot be understood."""

    NOT_FOUND = 3
    """A model, version, alias or file does not exist."""

    CONFLICT = 4
    """The present state does not allow it: somebody was faster, it exists already, or is in use."""

    DENIED = 5
    """No credentials, bad ones, or not sufficient ones."""

    UNAVAILABLE = 6
    """The server cannot be reached, or did not answer in time; trying again may help."""

    INVALID = 7
    """A name, a filter, a file, what TLS trusts or another input is refused."""

    EXHAUSTED = 8
    """A limit is reached or a disk is full."""

    DAMAGED = 9
    """Bytes are lost or damaged."""

    SETTINGS = 78
    """The settings of a server cannot be used."""

    INTERRUPTED = 130
    """Ended by Ctrl-C."""

    CLOSED_PIPE = 141
    """Nobody reads the output any more, as in `herdbook versions | head -1`."""


_BY_STATUS: tuple[tuple[type[HerdbookError], ExitCode], ...] = (
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.AlreadyExists, ExitCode.CONFLICT),
    (errors.Aborted, ExitCode.CONFLICT),
    (errors.FailedPrecondition, ExitCode.CONFLICT),
    (errors.Unauthenticated, ExitCode.DENIED),
    (errors.PermissionDenied, ExitCode.DENIED),
    (errors.EncryptionMismatch, ExitCode.INVALID),
    (errors.Unavailable, ExitCode.UNAVAILABLE),
    (errors.DeadlineExceeded, ExitCode.UNAVAILABLE),
    (errors.InvalidArgument, ExitCode.INVALID),
    (errors.OutOfRange, ExitCode.INVALID),
    (errors.ResourceExhausted, ExitCode.EXHAUSTED),
    (errors.DataLoss, ExitCode.DAMAGED),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """Tells the exit code that an error ends the command with."""
    return next((code for kind, code in _BY_STATUS if isinstance(error, kind)), ExitCode.FAILED)


def exit_code_summary() -> str:
    """Lists the codes in one paragraph, for the help text."""
    listed = ", ".join(f"{code.value} {_MEANINGS[code]}" for code in ExitCode)
    return f"Exit codes: {listed}."


_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "bad command line",
    ExitCode.NOT_FOUND: "not found",
    ExitCode.CONFLICT: "conflict or precondition",
    ExitCode.DENIED: "unauthenticated or denied",
    ExitCode.UNAVAILABLE: "unavailable or too late",
    ExitCode.INVALID: "input refused",
    ExitCode.EXHAUSTED: "limit reached or disk full",
    ExitCode.DAMAGED: "damaged bytes",
    ExitCode.SETTINGS: "bad settings of a server",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.CLOSED_PIPE: "output closed",
}
