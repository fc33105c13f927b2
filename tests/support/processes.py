"""Child processes that never outlive the test that started them."""

from __future__ import annotations

import contextlib
import pwd
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from tests.support.waiting import wait_until

STOP_SECONDS = 10.0


class Identity(TypedDict, total=False):
    """Arguments of subprocess functions that say whom the child runs as."""

    user: str
    group: int
    extra_groups: list[int]


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    ready: Callable[[], object],
    log: Path,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` until the block ends; enter the block when `ready` holds.

    Output goes to `log`. With `user`, the process runs as that user and in its primary group.

    Raises:
        RuntimeError: the process ended before it was ready; the message has its output.
        TimeoutError: it was not ready in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env, **identity(user)
        )
    try:
        wait_until(lambda: ready() or process.poll() is not None, f"{command[0]} is ready")
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended: {log.read_text(errors='replace')}")
        yield process
    finally:
        stop(process)


@contextlib.contextmanager
def in_background(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` beside the block, and kill it when that ends; its output is added to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End `process`, gracefully if it will."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def identity(user: str | None) -> Identity:
    """Return what makes a child run as `user`; nothing if that is None."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
