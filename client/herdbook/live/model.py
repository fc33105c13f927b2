"""The live model for threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Self, TypeVar

from herdbook.core.values import Resolution
from herdbook.errors import FieldInvalid
from herdbook.live.face import LiveFace
from herdbook.live.held import Lease

ModelT = TypeVar("ModelT")

LEASE_SECONDS = 30.0


class _NoLoop:
    """The bridge of those who have no event loop."""

    def adapt(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):
            raise FieldInvalid(f"{function.__qualname__} is an async function: use AsyncLiveModel.")
        return function

    def interrupt(self, thread: threading.Thread) -> None:
        """Threads cannot be ended."""


class LiveModel(LiveFace[ModelT]):
    """Follows a reference and holds a model of the version that it names now.

    Each version that the reference comes to name is fetched, verified, loaded, warmed up and
    validated beside the model that serves, then swapped in; the model before is closed when nobody
    uses it any more, and the registry is told. A candidate that fails leaves the model in place and
    is reported with the reason. While the registry is down the model keeps serving; a start then
    takes the version that served last from the cache. Every method may be called by any thread.

    ```python
    with herdbook.LiveModel("fraud/tc@champion", loader=load) as live:
        live.current.predict(x)
        with live.lease() as model:
            ...
    ```
    """

    __slots__ = ()

    def start(self) -> Self:
        """Returns when a first model serves. Again only waits for that.

        Raises:
            FieldInvalid: A function is async, and this live model is not.
            FirstLoadFailed: There is none, or not in time; the cause says why. Nothing runs any
                more then.
            ClientClosed: It has been closed.
            ForkedProcess: The process has forked since the start.
        """
        engine, begins = self._begin(_NoLoop())
        timeout_seconds = self._options.timeout_seconds
        try:
            if begins:
                engine.begin()
            engine.first.result(timeout_seconds)
        except FutureTimeoutError:
            failure = engine.first_failure(timeout_seconds)
            if begins:
                engine.close(limit_seconds=0.0)
            raise failure from failure.__cause__
        except BaseException:
            if begins:
                engine.close(limit_seconds=0.0)
            raise
        return self

    def close(self) -> None:
        """Ends everything: waits for leases up to `drain_timeout_seconds`, then closes the model.

        A lease that is held even longer closes it when it ends. Again does nothing; nor does it in
        the child of a process that forked.
        """
        if self._engine is not None:
            self._engine.close()

    def lease(self, *, timeout_seconds: float = LEASE_SECONDS) -> Lease[ModelT]:
        """Returns a context manager that gives the model that serves and keeps it from closing.

        Costs a few microseconds.

        Args:
            timeout_seconds: How long to wait if no model serves at the moment, as happens while
                `swap="unload-first"` swaps.

        Raises:
            NotServing: At the beginning of the block: no model serves.
            ForkedProcess: Likewise: the process has forked since the start.
        """
        return Lease(self._started().slot.lease, timeout_seconds)

    def pin(self, version: int) -> Resolution:
        """Has one version of the model serve, whatever the reference names, until `unpin`.

        For looking into a problem: the registry is told what serves, and it is not what a start
        without registry takes. Returns at once; `status` tells how the version comes to serve.

        Args:
            version: Its number.

        Raises:
            VersionNotFound: There is none.
            Unavailable: The registry cannot be asked.
            NotServing: It has not been started.
            ForkedProcess: The process has forked since the start.
        """
        return self._started().pin(self._pinned_reference(version))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
