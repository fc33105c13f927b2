"""The processes of the demonstration; none outlives the block that started it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_LOG_LINES = 15


class DemoBroken(Exception):
    """Something that the story needs did not happen; the message says what."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the serving process has counted since it started."""

    answers: Mapping[int, int]
    """Answers by the version that gave them."""

    first_answer_at: Mapping[int, float]
    """When a version answered first, on the machine's monotonic clock."""

    unknown: int
    """Answers that no version gives."""

    failed: int
    """Predictions that raised."""

    failure: str
    """The first of these."""

    slowest_seconds: float
    """The longest that a prediction took."""

    @classmethod
    def parse(cls, line: str) -> Counts:
        """Reads the serving process's report."""
        report: dict[str, Any] = json.loads(line)
        for name in ("answers", "first_answer_at"):
            report[name] = {int(version): value for version, value in report[name].items()}
        return cls(**report)

    @property
    def total(self) -> int:
        """All answers."""
        return sum(self.answers.values())

    @property
    def flawless(self) -> bool:
        """Whether every prediction was answered, and as a version answers."""
        return self.failed == self.unknown == 0

    def of(self, version: int) -> int:
        """How many a version gave."""
        return self.answers.get(version, 0)


class Serving:
    """The serving process, while it runs."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        """Takes the process and the file that it complains to."""
        self._process = process
        self._log = log

    def counts(self) -> Counts:
        """Asks for the counts.

        Raises:
            DemoBroken: The process has ended.
        """
        try:
            _pipe(self._process.stdin).write("report\n")
            _pipe(self._process.stdin).flush()
        except BrokenPipeError:
            raise DemoBroken(f"the serving process ended:\n{tail(self._log)}") from None
        return self._read()

    def end(self) -> Counts:
        """Lets the process end by itself; returns its last counts."""
        _pipe(self._process.stdin).close()
        return self._read()

    def _read(self) -> Counts:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise DemoBroken(f"the serving process ended:\n{tail(self._log)}")
        return Counts.parse(line)


class Server:
    """The server, while it runs."""

    def __init__(self, process: subprocess.Popen[str], log: Path, *, address: str) -> None:
        """Takes the process, the file that it logs to, and where it answers."""
        self.address = address
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises if it has ended.

        Raises:
            DemoBroken: It has; the message has the end of its log.
        """
        if self._process.poll() is not None:
            raise DemoBroken(f"the server ended:\n{tail(self._log)}")


@contextlib.contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Runs a server on the embedded default until the block ends; it answers at the beginning."""
    ready, log = folder / "server.ready", folder / "server.log"
    command = ["-m", "herdbook_server", "serve", "--data", str(folder / "data")]
    command += ["--listen", "127.0.0.1:0", "--ready-file", str(ready)]
    with log.open("w") as output, _running(command, stdout=output, stderr=output) as process:
        ended_or_ready = lambda: process.poll() is not None or _content(ready)  # noqa: E731
        await_that(ended_or_ready, "the server answers", seconds=60)
        server = Server(process, log, address=_content(ready))
        server.check()
        yield server


@contextlib.contextmanager
def running_serving(
    reference: str, *, server: str, folder: Path, answers: Path, threads: int
) -> Iterator[Serving]:
    """Runs a process that serves a reference under load until the block ends."""
    log = folder / "serving.log"
    command = ["-m", "herdbook.cli.demo.serving", reference, "--server", server]
    command += ["--cache-dir", str(folder / "cache"), "--answers", str(answers)]
    command += ["--threads", str(threads)]
    pipe = subprocess.PIPE
    with (
        log.open("w") as complaints,
        _running(command, stdin=pipe, stdout=pipe, stderr=complaints) as process,
    ):
        yield Serving(process, log)


@contextlib.contextmanager
def _running(
    arguments: Sequence[str],
    *,
    stdout: IO[str] | int,
    stderr: IO[str],
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[str]]:
    # In a session of its own: Ctrl-C reaches the demo alone, which then ends what it started.
    process = subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("HERDBOOK_")},
    )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    """Ends a process, gracefully if it will."""
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def await_that(condition: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
    """Returns as soon as something is so.

    Raises:
        DemoBroken: It is not so in time; the message names it.
    """
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise DemoBroken(f"not within {seconds:.0f} seconds: {what}")
        time.sleep(_POLL_SECONDS)


def tail(log: Path) -> str:
    """Returns the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def _content(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise DemoBroken("the serving process cannot be talked to")
    return pipe
