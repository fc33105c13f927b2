"""Drives a watch over connections that come and go, in the thread of whoever iterates."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from herdbook.core.values import Bookmark, ReferenceState
from herdbook.core.watching import METHOD, SILENCE_SECONDS, Watch, WatchUpdate
from herdbook.errors import ClientClosed, ConnectionLost, HerdbookError
from herdbook.transport.caller import Caller
from herdbook.transport.jitter import jitter
from herdbook.transport.silence import guarded


def follow(
    caller: Caller, watch: Watch, *, silence_seconds: float = SILENCE_SECONDS
) -> Generator[WatchUpdate]:
    """Yields what a watch tells, for ever; ends when the caller is closed.

    Args:
        caller: Makes the connections. Closing it from another thread ends the watch.
        watch: What to watch, and what is known of it.
        silence_seconds: A connection without a word for this long, or up to twice as long, is
            given up.

    Raises:
        HerdbookError: The server refused the first connection for good.
    """
    while not caller.closed:
        try:
            with closing(_connection(caller, watch, silence_seconds)) as updates:
                yield from updates
            error: HerdbookError = ConnectionLost("The server ended the watch.")
        except ClientClosed:
            return
        except HerdbookError as failure:
            error = failure if watch.admitted else caller.explained(failure)
        pause = watch.broke(error, jitter=jitter())
        yield pause
        caller.wait(pause.retry_in_seconds)


def _connection(
    caller: Caller, watch: Watch, silence_seconds: float
) -> Generator[ReferenceState | Bookmark]:
    with caller.translated():
        call = caller.download(METHOD, watch.request().SerializeToString())
        with guarded(call, silence_seconds) as heard:
            for data in call:
                heard.set()
                update = watch.read(data)
                if update is not None:
                    yield update
