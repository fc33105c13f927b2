"""Drives a watch over connections that come and go, in the thread of whoever iterates."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext

from herdbook.core.values import Bookmark, ReferenceState
from herdbook.core.watching import METHOD, SILENCE_SECONDS, Watch, WatchUpdate
from herdbook.errors import ClientClosed, ConnectionLost, HerdbookError
from herdbook.transport.caller import BreaksOff, Caller
from herdbook.transport.jitter import jitter
from herdbook.transport.silence import guarded


def follow(
    caller: Caller,
    watch: Watch,
    *,
    breaks_off: BreaksOff | None = None,
    silence_seconds: float = SILENCE_SECONDS,
) -> Generator[WatchUpdate]:
    """Yields what a watch tells, for ever; ends when the caller is closed.

    Args:
        caller: Makes the connections. Closing it from another thread ends the watch.
        watch: What to watch, and what is known of it.
        breaks_off: Surrounds each connection; may call what it is given to break it off.
        silence_seconds: A connection without a word for this long, or up to twice as long, is
            given up.

    Raises:
        HerdbookError: The server refused the first connection for good.
    """
    while not caller.closed:
        try:
            connection = _connection(caller, watch, breaks_off or _unbroken, silence_seconds)
            with closing(connection) as updates:
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
    caller: Caller, watch: Watch, breaks_off: BreaksOff, silence_seconds: float
) -> Generator[ReferenceState | Bookmark]:
    with caller.translated():
        call = caller.download(METHOD, watch.request().SerializeToString())
        with guarded(call, silence_seconds) as heard, breaks_off(call.cancel):
            for data in call:
                heard.set()
                caller.contact.answered = True
                update = watch.read(data)
                if update is not None:
                    yield update


def _unbroken(_: Callable[[], object]) -> AbstractContextManager[None]:
    return nullcontext()
