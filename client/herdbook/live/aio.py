"""The live model for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from herdbook.core.values import Resolution
from herdbook.live.face import LiveFace
from herdbook.live.held import HeldModel, SingleLease
from herdbook.live.model import LEASE_SECONDS
from herdbook.live.options import LiveArguments
from herdbook.live.slot import ModelSlot

ModelT = TypeVar("ModelT")


class LoopBridge:
    """Lets threads run the user's async functions in the loop they belong to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs them in `loop`."""
        self._loop = loop
        self._lock = threading.Lock()
        self._under_way: dict[Future[Any], threading.Thread] = {}

    def adapt(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Makes a function, async or not, one that a thread other than the loop's can call."""

        def call(*arguments: Any) -> Any:
            outcome = function(*arguments)
            return self._run(outcome) if inspect.isawaitable(outcome) else outcome

        return call

    def cancel(self) -> None:
        """Cancels what runs now."""
        self._cancel(lambda _: True)

    def interrupt(self, thread: threading.Thread) -> None:
        """Cancels what runs now for a thread."""
        self._cancel(lambda waiting: waiting is thread)

    def _cancel(self, chosen: Callable[[threading.Thread], bool]) -> None:
        with self._lock:
            futures = [each for each, waiting in self._under_way.items() if chosen(waiting)]
        for future in futures:
            future.cancel()

    def _run(self, awaitable: Awaitable[Any]) -> Any:
        with self._lock:
            future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop)
            self._under_way[future] = threading.current_thread()
        try:
            return future.result()
        finally:
            with self._lock:
                del self._under_way[future]


async def _done(future: Future[None]) -> None:
    """Waits until a future is done; one who gives up leaves it to others who wait."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(tell)
    await done.wait()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class AsyncLease(SingleLease[ModelT]):
    """Keeps one model from being closed, from the beginning to the end of an `async with` block.

    The block gets the model. A lease is used once.
    """

    __slots__ = ("_slot", "_timeout_seconds")

    def __init__(self, slot: ModelSlot[ModelT], timeout_seconds: float) -> None:
        """Will take the model that serves when the block begins."""
        super().__init__()
        self._slot = slot
        self._timeout_seconds = timeout_seconds

    async def __aenter__(self) -> ModelT:
        self._begin()
        self._held = self._slot.take() or await self._wait()
        return self._held.model

    async def __aexit__(self, *failure: object) -> None:
        ended = self._end()
        if ended is not None:
            # Closing may take long, or need this loop.
            await asyncio.to_thread(ended.finish)

    async def _wait(self) -> HeldModel[ModelT]:
        # No thread waits: many requests may wait at once, and threads are few.
        self._slot.check_process()
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hear() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed.set)

        with self._slot.listening(hear):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_seconds):
                    while not self._slot.closing.is_set():
                        held = self._slot.take()
                        if held is not None:
                            return held
                        await changed.wait()
                        changed.clear()
            raise self._slot.absence()


class AsyncLiveModel(LiveFace[ModelT]):
    """Follows a reference and holds a model of the version that it names now.

    Each version that the reference comes to name is fetched, verified, loaded, warmed up and
    validated beside the model that serves, then swapped in; the model before is closed when nobody
    uses it any more, and the registry is told. A candidate that fails leaves the model in place and
    is reported with the reason. While the registry is down the model keeps serving; a start then
    takes the version that served last from the cache. The event loop is never blocked: the work is
    done by threads. `loader`, `warmup`, `validate`, `close` and `on_change` may be async functions,
    which run in the loop that started the live model; others run in a thread.

    ```python
    async with herdbook.AsyncLiveModel("fraud/tc@champion", loader=load) as live:
        live.current.predict(x)
        async with live.lease() as model:
            ...
    ```
    """

    __slots__ = ("_bridge",)

    _bridge: LoopBridge

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: AsyncLiveModel[ModelT],
            reference: str,
            *,
            loader: Callable[[Path], Coroutine[Any, Any, ModelT]],
            **arguments: Unpack[LiveArguments[ModelT]],
        ) -> None: ...

        @overload
        def __init__(
            self: AsyncLiveModel[ModelT],
            reference: str,
            *,
            loader: Callable[[Path], ModelT],
            **arguments: Unpack[LiveArguments[ModelT]],
        ) -> None: ...

        def __init__(self, reference: str, *, loader: Any, **arguments: Any) -> None: ...

    async def start(self) -> Self:
        """Returns when a first model serves. Again only waits for that.

        Raises:
            FieldInvalid: A function is async, and this live model is not.
            FirstLoadFailed: There is none, or not in time; the cause says why. Nothing runs any
                more then.
            ClientClosed: It has been closed.
            ForkedProcess: The process has forked since the start.
        """
        if self._engine is None:
            self._bridge = LoopBridge(asyncio.get_running_loop())
        engine, begins = self._begin(self._bridge)
        timeout_seconds = self._options.timeout_seconds
        try:
            if begins:
                engine.begin()
            async with asyncio.timeout(timeout_seconds):
                await _done(engine.first)
            engine.first.result()
        except TimeoutError:
            failure = engine.first_failure(timeout_seconds)
            if begins:
                await self._end(limit_seconds=0.0)
            raise failure from failure.__cause__
        except BaseException:
            if begins:
                await self._end(limit_seconds=0.0)
            raise
        return self

    async def close(self) -> None:
        """Ends everything: waits for leases up to `drain_timeout_seconds`, then closes the model.

        A lease that is held even longer closes it when it ends. Again does nothing; nor does it in
        the child of a process that forked.
        """
        await self._end(limit_seconds=math.inf)

    def lease(self, *, timeout_seconds: float = LEASE_SECONDS) -> AsyncLease[ModelT]:
        """Returns a context manager that gives the model that serves and keeps it from closing.

        Costs a few microseconds.

        Args:
            timeout_seconds: How long to wait if no model serves at the moment, as happens while
                `swap="unload-first"` swaps.

        Raises:
            NotServing: At the beginning of the block: no model serves.
            ForkedProcess: Likewise: the process has forked since the start.
        """
        return AsyncLease(self._started().slot, timeout_seconds)

    async def pin(self, version: int) -> Resolution:
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
        return await asyncio.to_thread(self._started().pin, self._pinned_reference(version))

    async def _end(self, *, limit_seconds: float) -> None:
        engine = self._engine
        if engine is not None and engine.slot.begin_closing():
            # A loader is given up; what is closed after that may need the loop, as may be what the
            # last lease closes even later.
            self._bridge.cancel()
            await asyncio.to_thread(engine.finish, limit_seconds=limit_seconds)
            self._bridge.cancel()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
