"""The demonstration: a server, two trained models, and a process that serves them."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from herdbook.cli.demo.narration import Narrator
from herdbook.cli.exits import ExitCode
from herdbook.errors import HerdbookError


def run_demo(*, threads: int, keep: bool) -> int:
    """Tells the story from beginning to end; returns 0 if everything was as promised.

    Every process that it starts has ended when it returns.

    Args:
        threads: How many threads ask for predictions.
        keep: Leave the data folder where it is.
    """
    from herdbook.cli.demo.story import DemoBroken, tell

    narrator = Narrator()
    try:
        with _terminable(), _folder(keep=keep) as folder:
            tell(narrator, folder, threads=threads)
            if keep:
                narrator.say(f"The data folder is kept: {folder}")
    except KeyboardInterrupt:
        narrator.fail("Interrupted; everything that was started has ended.")
        return ExitCode.INTERRUPTED
    except (DemoBroken, HerdbookError, OSError) as error:
        narrator.fail(f"The demo broke off: {error}")
        return ExitCode.FAILED
    return ExitCode.OK if narrator.close() else ExitCode.FAILED


@contextlib.contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(prefix="herdbook-demo-"))
        return
    with tempfile.TemporaryDirectory(prefix="herdbook-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM unwind, so that what was started is ended."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
