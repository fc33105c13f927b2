"""A loaded model, who uses it, and when it may be closed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from herdbook.cache.versions import CachedVersion
from herdbook.core.values.registry import Resolution
from herdbook.live import log

ModelT = TypeVar("ModelT")

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.1


class HeldModel(Generic[ModelT]):
    """Counts the leases of one loaded model and closes it once. Thread-safe."""

    __slots__ = (
        "_close",
        "_close_when_free",
        "_closed",
        "_files",
        "_leases",
        "_lock",
        "_own_references",
        "load_seconds",
        "model",
        "resolution",
    )

    def __init__(
        self,
        model: ModelT,
        resolution: Resolution,
        *,
        files: CachedVersion,
        close: Callable[[ModelT], object] | None,
        load_seconds: float = 0.0,
    ) -> None:
        """Takes over the model, and its files in the cache, which are kept until it is closed."""
        self.model = model
        self.load_seconds = load_seconds
        self.resolution = resolution
        self._files = files
        self._close = close
        self._lock = threading.Lock()
        self._leases = 0
        self._close_when_free = False
        self._closed = False
        self._own_references = sys.maxsize

    @property
    def leases(self) -> int:
        """How many leases are held."""
        return self._leases

    def publish(self) -> None:
        """Notes how often the model is referred to before anybody reads it from the live model."""
        self._own_references = sys.getrefcount(self.model)

    def take(self) -> bool:
        """Takes a lease; returns False if the model is closed."""
        with self._lock:
            if self._closed:
                return False
            self._leases += 1
            return True

    def give_back(self) -> bool:
        """Gives a lease back; returns whether the model waits for `finish`, being the caller's."""
        with self._lock:
            self._leases -= 1
            last = self._close_when_free and self._leases == 0 and not self._closed
            self._closed = self._closed or last
        return last

    @property
    def read(self) -> bool:
        """Whether somebody seems to use the model without a lease.

        Reads of `current` leave no trace, so where closing does something this looks how often the
        model is referred to, compared with before it was shown.
        """
        return self._close is not None and sys.getrefcount(self.model) > self._own_references

    def drain(
        self, limit_seconds: float, *, read_limit_seconds: float, ending: threading.Event
    ) -> bool:
        """Waits until nobody uses the model any more; returns whether its leases have ended.

        Args:
            limit_seconds: How long at most.
            read_limit_seconds: How long at most for those who use it without a lease.
            ending: Ends the wait when it is set.
        """
        started_at = time.monotonic()
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not ending.is_set():
            waited_seconds = time.monotonic() - started_at
            read = waited_seconds < min(limit_seconds, read_limit_seconds) and self.read
            if not (self._leases or read) or (self._leases and waited_seconds >= limit_seconds):
                break
            ending.wait(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        return self._leases == 0

    def close(self) -> None:
        """Closes the model, now or when its last lease ends."""
        with self._lock:
            self._close_when_free = True
            now = self._leases == 0 and not self._closed
            self._closed = self._closed or now
        if now:
            self.finish()

    def finish(self) -> None:
        """Closes the model, as `close` and the last lease do; whatever the user's code raises."""
        close, model = self._close, self.model
        # Nothing here keeps the model in memory from now on.
        self.model = cast("ModelT", None)
        try:
            if close is not None:
                close(model)
        except BaseException:  # noqa: BLE001 - it is the user's code
            log.exception("%s was not closed well", self.resolution.reference)
        finally:
            self._files.release()


class SingleLease(Generic[ModelT]):
    """What a lease tells of its model, be it of threads or of asyncio; it is used once."""

    __slots__ = ("_begun", "_held", "_over")

    def __init__(self) -> None:
        """Has not begun."""
        self._begun = False
        self._held: HeldModel[ModelT] | None = None
        self._over = False

    @property
    def resolution(self) -> Resolution:
        """The version of the leased model."""
        if self._held is None:
            raise RuntimeError("the lease has not begun")
        return self._held.resolution

    @property
    def version(self) -> int:
        """The number of the version of the leased model."""
        return self.resolution.version

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("a lease is used once: call lease() again")
        self._begun = True

    def _end(self) -> HeldModel[ModelT] | None:
        """Gives the model back, once; returns it if it is to be finished now."""
        if self._held is None or self._over:
            return None
        self._over = True
        return self._held if self._held.give_back() else None


class Lease(SingleLease[ModelT]):
    """Keeps one model from being closed, from the beginning to the end of a `with` block.

    The block gets the model. A lease is used once.
    """

    __slots__ = ("_find", "_timeout_seconds")

    def __init__(self, find: Callable[[float], HeldModel[ModelT]], timeout_seconds: float) -> None:
        """Will take the model that `find` leases when the block begins."""
        super().__init__()
        self._find = find
        self._timeout_seconds = timeout_seconds

    def __enter__(self) -> ModelT:
        self._begin()
        self._held = self._find(self._timeout_seconds)
        return self._held.model

    def __exit__(self, *failure: object) -> None:
        ended = self._end()
        if ended is not None:
            ended.finish()
