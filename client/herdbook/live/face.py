"""What both live models show: the model, leases, and how things stand."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Literal, NoReturn, TypeVar

from herdbook.core.references import parse_reference
from herdbook.core.values import Resolution
from herdbook.errors import ClientClosed
from herdbook.live.engine import LiveEngine
from herdbook.live.errors import NotServing
from herdbook.live.options import LiveOptions
from herdbook.live.plan import Bridge
from herdbook.live.registry import GrpcRegistry, Registry
from herdbook.live.slot import ModelSlot
from herdbook.live.status import LiveStatus
from herdbook.transport.connection import TLS

ModelT = TypeVar("ModelT")


class LiveFace(Generic[ModelT]):
    """A live model, however it is started."""

    __slots__ = ("__weakref__", "_beginning", "_engine", "_options", "current")

    current: ModelT
    """The model that serves, by a plain attribute read: no lock, no I/O.

    Read it once for each request: two reads may give two models. A model that is replaced is closed
    only when, as far as can be seen, no such read is in use any more or `drain_timeout_seconds`
    have passed; a lease is certain. While no model serves, reading raises `NotServing`.
    """

    def __init__(
        self,
        reference: str,
        *,
        loader: Callable[[Path], ModelT],
        server: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        warmup: Callable[[ModelT], object] | None = None,
        validate: Callable[[ModelT], object] | None = None,
        close: Callable[[ModelT], object] | None = None,
        on_change: Callable[[LiveStatus], object] | None = None,
        swap: Literal["load-first", "unload-first"] = "load-first",
        timeout_seconds: float = 300.0,
        load_timeout_seconds: float = 900.0,
        drain_timeout_seconds: float = 30.0,
        retry_seconds: float = 30.0,
        cache_max_bytes: int | None = None,
        replica_name: str | None = None,
        token: str | None = None,
        tls: TLS | bool | None = None,
    ) -> None:
        """Checks the arguments; nothing is started yet, so a process may still fork.

        Args:
            reference: What to follow, such as `fraud/tc@champion`.
            loader: Makes the model of the `pathlib.Path` of the version's directory, whose files
                are verified, read-only, and stay in place until the model is closed.
            server: The registry, as `HOST:PORT`; else HERDBOOK_SERVER, else `localhost:7411`.
            cache_dir: Where versions are kept, shared by the processes of a host; else
                HERDBOOK_CACHE_DIR, else `~/.cache/herdbook`.
            warmup: Called with each candidate before it serves, to make its first answers fast.
            validate: Called with each candidate after that; raises or returns False to turn it
                down.
            close: Called with each model that is replaced, or turned down, once nobody uses it; by
                default its own `close()`, if it has one.
            on_change: Called with the new status when something has changed: a swap, a failure, an
                outage. From a thread of the live model's; what it raises is logged.
            swap: `load-first` loads a candidate beside the model that serves. `unload-first` drains
                and closes that before, for models that do not fit twice: requests that lease wait
                meanwhile, and if the candidate fails, the old version is loaded again.
            timeout_seconds: How long starting may take until a first model serves.
            load_timeout_seconds: How long loading, warming up and validating a candidate may take
                together. One that takes longer has failed: an async function is cancelled, a thread
                is left to itself, and what it makes in the end is closed.
            drain_timeout_seconds: How long a replaced model is waited for before the next candidate
                is begun; its last lease closes it even after that.
            retry_seconds: How long a candidate that failed is left alone, unless the alias moves;
                doubled each time it fails again, up to 15 minutes.
            cache_max_bytes: The bound of the cache; else HERDBOOK_CACHE_MAX_BYTES, else 32 GiB.
            replica_name: What the operator calls this replica; else HERDBOOK_REPLICA_NAME.
            token: Sent to the registry as a bearer token; else HERDBOOK_TOKEN.
            tls: How the connection is secured, as for `Client`.

        Raises:
            ReferenceInvalid: It is no reference.
            FieldInvalid: Some other argument makes no sense.
        """
        self._engine: LiveEngine[ModelT] | None = None
        self._beginning = threading.Lock()
        self._options = LiveOptions(
            reference=reference,
            loader=loader,
            server=server,
            cache_dir=cache_dir,
            warmup=warmup,
            validate=validate,
            close=close,
            on_change=on_change,
            swap=swap,
            timeout_seconds=timeout_seconds,
            load_timeout_seconds=load_timeout_seconds,
            drain_timeout_seconds=drain_timeout_seconds,
            retry_seconds=retry_seconds,
            cache_max_bytes=cache_max_bytes,
            replica_name=replica_name,
            token=token,
            tls=tls,
        )

    @property
    def reference(self) -> str:
        """What is followed."""
        return self._options.reference

    @property
    def version(self) -> int | None:
        """The number of the version that serves; None if none does.

        A swap may come between this and a read of `current`; a lease tells the version it holds.
        """
        resolution = self.resolution
        return None if resolution is None else resolution.version

    @property
    def resolution(self) -> Resolution | None:
        """The version that serves; None if none does."""
        held = None if self._engine is None else self._engine.slot.held
        return None if held is None else held.resolution

    def status(self) -> LiveStatus:
        """Returns how things stand at this moment. Never waits for the registry.

        Raises:
            NotServing: It has not been started.
            ForkedProcess: The process has forked since the start.
        """
        return self._started().status()

    def is_ready(self) -> bool:
        """Tells whether a model serves: what a readiness probe wants to know. Never raises."""
        return self.resolution is not None

    def unpin(self) -> None:
        """Goes back to what the reference names, after `pin`.

        Raises:
            NotServing: It has not been started.
            ForkedProcess: The process has forked since the start.
        """
        self._started().unpin()

    def pause(self) -> None:
        """Lets the model that serves stay, wherever the alias moves, until `resume`.

        A candidate on its way does not serve any more. Without a model a first one is still served.

        Raises:
            NotServing: It has not been started.
            ForkedProcess: The process has forked since the start.
        """
        self._started().pause(paused=True)

    def resume(self) -> None:
        """Follows the reference again, after `pause`: to where it points by now.

        Raises:
            NotServing: It has not been started.
            ForkedProcess: The process has forked since the start.
        """
        self._started().pause(paused=False)

    def refresh(self) -> None:
        """Tries a candidate that has failed again now, instead of when its time has come.

        What the reference names need not be asked for: the registry tells of it by itself.

        Raises:
            NotServing: It has not been started.
            ForkedProcess: The process has forked since the start.
        """
        self._started().refresh()

    def _pinned_reference(self, version: int) -> str:
        return f"{parse_reference(self.reference).model}:{version:d}"

    def __getattr__(self, name: str) -> NoReturn:
        # The slot is empty while no model serves; a full one never comes here.
        if name == "current":
            raise self._started().slot.absence()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _publish(self, model: ModelT) -> None:
        self.current = model

    def _withdraw(self) -> None:
        with contextlib.suppress(AttributeError):
            del self.current

    def _started(self) -> LiveEngine[ModelT]:
        if self._engine is None:
            raise NotServing(f"The live model of {self.reference} has not been started.")
        return self._engine

    def _begin(self, bridge: Bridge) -> tuple[LiveEngine[ModelT], bool]:
        """Returns the engine, and whether it was made just now and is the caller's to start."""
        with self._beginning:
            engine = self._engine
            if engine is None:
                self._engine = made = self._make_engine(bridge)
                return made, True
        self._check_running(engine)
        return engine, False

    def _make_engine(self, bridge: Bridge) -> LiveEngine[ModelT]:
        options = self._options
        settings = options.settings()
        return LiveEngine(
            settings,
            options.plan(bridge),
            self._registry(),
            cache=options.cache(),
            slot=ModelSlot(settings, publish=self._publish, withdraw=self._withdraw),
        )

    def _registry(self) -> Registry:
        return GrpcRegistry(self._options.connection())

    def _check_running(self, engine: LiveEngine[ModelT]) -> None:
        engine.slot.check_process()
        if engine.slot.closing.is_set():
            raise ClientClosed(f"The live model of {self.reference} is closed: make a new one.")
