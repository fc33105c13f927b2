"""Which model serves: leasing it, replacing it, and closing it when nobody uses it any more."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from herdbook.errors import ForkedProcess, HerdbookError
from herdbook.live.errors import LeasesHeld, NotServing
from herdbook.live.held import HeldModel
from herdbook.live.settings import LiveSettings

ModelT = TypeVar("ModelT")

_SWAP_READ_SECONDS = 1.0
"""How long the next candidate waits for reads of `current` before the last swap."""

_UNLOAD_READ_SECONDS = 1.0
"""How long a swap with unload-first waits for reads of `current`, while nothing serves."""

_CLOSE_READ_SECONDS = 0.2
"""How long a live model that closes waits for them."""


class ModelSlot(Generic[ModelT]):
    """Holds the model that serves. Leases may be taken by any thread; one thread changes it."""

    def __init__(
        self,
        settings: LiveSettings,
        *,
        publish: Callable[[ModelT], object],
        withdraw: Callable[[], object],
    ) -> None:
        """Shows the model that serves by `publish`, and that none does by `withdraw`."""
        self.held: HeldModel[ModelT] | None = None
        self.closing = threading.Event()
        self.closers: list[threading.Thread] = []
        self._settings = settings
        self._publish = publish
        self._withdraw = withdraw
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], object]] = []
        self._replaced: HeldModel[ModelT] | None = None
        self._forked = False

    def lease(self, timeout_seconds: float) -> HeldModel[ModelT]:
        """Returns the model that serves, leased; waits a while if none does.

        Raises:
            NotServing: None does.
            ForkedProcess: The process has forked since the start.
        """
        held = self.take()
        if held is not None:
            return held
        self.check_process()
        with self._changed:
            leased = self._changed.wait_for(self._leased_or_closed, timeout_seconds)
        if isinstance(leased, HeldModel):
            return leased
        raise self.absence()

    def take(self) -> HeldModel[ModelT] | None:
        """Returns the model that serves, leased; None if none does."""
        held = self.held
        return held if held is not None and held.take() else None

    @contextlib.contextmanager
    def listening(self, hear: Callable[[], object]) -> Iterator[None]:
        """Has `hear` called, by any thread, whenever `take` may give something else."""
        with self._changed:
            self._listeners.append(hear)
        try:
            yield
        finally:
            with self._changed:
                self._listeners.remove(hear)

    def absence(self) -> HerdbookError:
        """Says why there is no model."""
        reference = self._settings.reference
        if self._forked:
            return ForkedProcess(
                f"The live model of {reference} was started before the process forked: "
                "make and start one in the child."
            )
        if self.closing.is_set():
            return NotServing(f"The live model of {reference} is closed.")
        return NotServing(f"No model of {reference} serves at this moment.")

    def check_process(self) -> None:
        """Raises if this is not the process that started.

        Raises:
            ForkedProcess: It is a child of that.
        """
        if self._forked:
            raise self.absence()

    def forked(self) -> None:
        """Notes that this is the child of the process that started."""
        self._forked = True
        self.held = None
        self._withdraw()

    def put(self, loaded: HeldModel[ModelT]) -> None:
        """Lets a model serve in place of the one that does."""
        self._replaced = self.held
        loaded.publish()
        self._show(loaded)

    def retire_replaced(self) -> None:
        """Closes the model that served before, when nobody uses it any more."""
        replaced, self._replaced = self._replaced, None
        if replaced is None:
            return
        self._drain(replaced, _SWAP_READ_SECONDS)
        if replaced.read and not self.closing.is_set():
            # Whoever still has it in some variable need not hold up the next candidate.
            self._close_later(replaced)
        else:
            replaced.close()

    def unload(self) -> None:
        """Closes the model that serves, and lets none serve.

        Raises:
            LeasesHeld: It is leased for too long; it serves on.
        """
        held = self._take_away()
        if held is None:
            return
        if not self._drain(held, _UNLOAD_READ_SECONDS):
            self._put_back(held)
            raise LeasesHeld(
                f"{held.leases} leases of {held.resolution.reference} did not end "
                f"within {self._settings.drain_timeout_seconds:g} s."
            )
        held.close()
        # What refers to itself in circles would take up the room that the candidate needs.
        gc.collect()

    def begin_closing(self) -> bool:
        """Has nothing be put here any more; returns False if that was so, or in a child."""
        if self._forked:
            # The lock may have been held by a thread that is not here.
            return False
        with self._changed:
            begins = not self.closing.is_set()
            if begins:
                self.closing.set()
            self._notify()
        return begins

    def close(self) -> None:
        """Closes the model that serves, or leaves that to its last lease."""
        held = self._take_away()
        if held is not None:
            limit_seconds = self._settings.drain_timeout_seconds
            held.drain(
                limit_seconds, read_limit_seconds=_CLOSE_READ_SECONDS, ending=threading.Event()
            )
            held.close()

    def _leased_or_closed(self) -> HeldModel[ModelT] | bool:
        return self.take() or self.closing.is_set()

    def _show(self, held: HeldModel[ModelT]) -> None:
        with self._changed:
            self.held = held
            self._publish(held.model)
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        for hear in self._listeners:
            hear()

    def _take_away(self) -> HeldModel[ModelT] | None:
        with self._changed:
            held, self.held = self.held, None
            self._withdraw()
        return held

    def _put_back(self, held: HeldModel[ModelT]) -> None:
        with self._changed:
            closing = self.closing.is_set()
            if not closing:
                self._show(held)
        if closing:
            held.close()

    def _close_later(self, held: HeldModel[ModelT]) -> None:
        def close() -> None:
            self._drain(held, self._settings.drain_timeout_seconds)
            held.close()

        thread = threading.Thread(target=close, name="herdbook-close", daemon=True)
        self.closers = [each for each in self.closers if each.is_alive()] + [thread]
        thread.start()

    def _drain(self, held: HeldModel[ModelT], read_limit_seconds: float) -> bool:
        return held.drain(
            self._settings.drain_timeout_seconds,
            read_limit_seconds=read_limit_seconds,
            ending=self.closing,
        )
