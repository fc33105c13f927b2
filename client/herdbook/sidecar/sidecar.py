"""Keeps a directory current for model servers of any language, as a live model without a model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from herdbook.core.layouts import Layout
from herdbook.core.references import parse_reference
from herdbook.errors import Cancelled, FailedPrecondition, FieldInvalid
from herdbook.live import LiveModel, LiveStatus, NotServing, log
from herdbook.sidecar.directory import PlacedVersion, ServedDirectory
from herdbook.sidecar.hooks import HookFailed, Hooks, News
from herdbook.transport.connection import TLS

_HOOK_MARGIN_SECONDS: Final = 3600.0
"""How long placing a version may take, besides its hooks."""


class NotTakenUp(FailedPrecondition):
    """The server did not take up a version; it has the one before again."""


class Sidecar:
    """Follows a reference and keeps a directory at the version that it names.

    A version is fetched, verified and placed, then found by the server's links, then the hooks make
    the server take it up; when they have, it is accepted and reported as served. If they fail, the
    links go back to what was accepted before, the hooks are run for that, and the failure is
    reported; it is tried again after half a minute, then less and less often. The first version of
    a directory stays while its hooks fail, for a server may need it to start at all. While the
    registry is away nothing changes. A kill at any moment leaves links to whole versions.

    ```python
    with Sidecar("fraud/tc@champion", "/models/tc", layout=Layout.TF_SERVING):
        ...
    ```
    """

    def __init__(
        self,
        reference: str,
        directory: str | os.PathLike[str],
        *,
        layout: Layout = Layout.CURRENT,
        name: str | None = None,
        keep: int = 1,
        hooks: Hooks = Hooks(),  # noqa: B008 - it is frozen
        on_change: Callable[[LiveStatus], object] | None = None,
        timeout_seconds: float = 300.0,
        server: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        replica_name: str | None = None,
        token: str | None = None,
        tls: TLS | bool | None = None,
    ) -> None:
        """Checks the arguments; nothing is started yet.

        Args:
            reference: What to follow, such as `fraud/tc@champion`.
            directory: What to keep current; made if need be, one sidecar each.
            layout: How the server finds the version.
            name: What a Triton repository calls the model; else the last part of its name.
            keep: How many versions stay on the disk besides the one that is served.
            hooks: What makes the server take up a version.
            on_change: Called with the new status when something has changed.
            timeout_seconds: How long starting may take until a first version is served.
            server: The registry, as for `Client`.
            cache_dir: Where versions are kept, as for `LiveModel`; on one file system with the
                directory nothing is copied.
            replica_name: What the operator calls this replica; else HERDBOOK_REPLICA_NAME.
            token: As for `Client`.
            tls: As for `Client`.

        Raises:
            ReferenceInvalid: It is no reference.
            FieldInvalid: Some other argument makes no sense.
        """
        if keep < 0:
            raise FieldInvalid(f"keep is {keep}; it must be 0 or more.")
        model = parse_reference(reference).model
        name = name or model.rpartition("/")[2]
        if "/" in name or name.startswith("."):
            raise FieldInvalid(f"{name!r} is no name of a directory in a Triton repository.")
        self._reference = reference
        self._hooks = hooks
        self._directory = ServedDirectory(
            Path(directory).absolute(), layout, model=model, name=name, keep=keep
        )
        self._lock = threading.RLock()
        self._opened = False
        self._stopping = threading.Event()
        self._live: LiveModel[PlacedVersion] = LiveModel(
            reference,
            loader=self._place,
            validate=self._take_up,
            close=self._let_go,
            on_change=on_change,
            timeout_seconds=timeout_seconds,
            load_timeout_seconds=_HOOK_MARGIN_SECONDS + _longest_seconds(hooks),
            server=server,
            cache_dir=cache_dir,
            replica_name=replica_name,
            token=token,
            tls=tls,
        )

    def start(self) -> Self:
        """Returns when the directory holds a version that the server has taken up.

        Raises:
            DirectoryInUse: Another sidecar keeps the directory.
            DestinationUnusable: The directory cannot be made.
            FirstLoadFailed: There is no version, or not in time; the cause says why.
        """
        with self._lock:
            if not self._opened:
                self._directory.open()
                self._opened = True
        try:
            self._live.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Follows no more; the directory stays at what the server has taken up.

        Waits for a hook under way. Again does nothing.
        """
        self._stopping.set()
        self._live.close()
        with self._lock:
            self._directory.close()

    def status(self) -> LiveStatus:
        """Returns how things stand, where what serves is what the server has taken up."""
        return self._live.status()

    def is_ready(self) -> bool:
        """Tells whether the server has taken up a version. Never raises."""
        return self._live.is_ready()

    def _place(self, files: Path) -> PlacedVersion:
        candidate = self._live.status().candidate
        if candidate is None:
            raise RuntimeError("nothing is to be placed")
        with self._lock:
            self._check_running()
            return self._directory.place(candidate, files)

    def _take_up(self, placed: PlacedVersion) -> None:
        with self._lock:
            self._check_running()
            served = self._served()
            before = served or self._directory.accepted
            try:
                self._directory.show(placed)
                self._hooks.run(self._news(placed), ended=self._stopping)
                self._directory.accept(placed)
            except Exception as failure:
                if before is None or before.path == placed.path or not before.path.is_dir():
                    raise
                untold = self._go_back(before)
                if served is not None and isinstance(failure, HookFailed):
                    # Lasting: each attempt has the server change versions twice.
                    words = failure.message.removesuffix(".")
                    raise NotTakenUp(f"{words}{untold}.") from failure
                raise

    def _let_go(self, placed: PlacedVersion) -> None:
        """Tidies up after a version that was replaced; takes back one that came too late."""
        with self._lock:
            if self._stopping.is_set():
                return
            shown, served = self._directory.shown, self._served()
            too_late = shown is not None and shown.path == placed.path
            if too_late and served is not None and served.path != placed.path:
                untold = self._go_back(served)
                if untold:
                    log.warning("%s came too late%s.", placed.resolution.reference, untold)
            self._directory.prune()

    def _served(self) -> PlacedVersion | None:
        try:
            return self._live.current
        except NotServing:
            return None

    def _check_running(self) -> None:
        if self._stopping.is_set():
            raise Cancelled("The sidecar ends.")

    def _go_back(self, before: PlacedVersion) -> str:
        """Has the server find what it had; returns what to add if it could not be told of that."""
        self._directory.show(before)
        untold = ""
        if not self._stopping.is_set():
            try:
                self._hooks.run(self._news(before), ended=self._stopping)
            except HookFailed as failure:
                words = failure.message.removesuffix(".")
                untold = f"; nor could the server be told of going back: {words}"
        self._directory.accept(before)
        return untold

    def _news(self, placed: PlacedVersion) -> News:
        return News(
            reference=self._reference,
            model=placed.resolution.model,
            version=placed.resolution.version,
            digest=placed.resolution.digest or "",
            directory=str(self._directory.root),
            path=str(placed.path),
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _longest_seconds(hooks: Hooks) -> float:
    return 2.0 * len(hooks.hooks) * hooks.attempts * hooks.timeout_seconds
