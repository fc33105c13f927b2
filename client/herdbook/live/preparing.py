"""Makes candidates of files within a time limit, in threads that can be given up."""

from __future__ import annotations

import threading
import time
from typing import Final, Generic, TypeVar

from herdbook.cache import CachedVersion
from herdbook.core.values import Resolution
from herdbook.errors import Cancelled
from herdbook.live.errors import LoadTimedOut
from herdbook.live.held import HeldModel
from herdbook.live.plan import LivePlan, PreparationFailed

ModelT = TypeVar("ModelT")

GIVEN_UP_MAX: Final = 3
"""Threads that were given up and hang on; no candidate is begun while there are so many."""


class Preparer(Generic[ModelT]):
    """Loads, warms up and validates, one candidate after the other."""

    def __init__(self, plan: LivePlan[ModelT], *, timeout_seconds: float) -> None:
        """Will give up what takes longer; infinite: never."""
        self.given_up: list[threading.Thread] = []
        self._plan = plan
        self._timeout_seconds = timeout_seconds

    def prepare(
        self, files: CachedVersion, resolution: Resolution, *, needed: bool
    ) -> HeldModel[ModelT]:
        """Returns a model that may serve. The files are its own from now on, or let go.

        A thread cannot be ended: one that is given up goes on, and what it makes in the end is
        closed.

        Args:
            files: Where its files are.
            resolution: Which version it is.
            needed: Whether nothing serves, so that it is tried however many hang.

        Raises:
            PreparationFailed: Something raised, or took too long.
        """
        self.given_up = [thread for thread in self.given_up if thread.is_alive()]
        if len(self.given_up) >= GIVEN_UP_MAX and not needed:
            files.release()
            raise PreparationFailed("load", _hanging(len(self.given_up)))
        attempt = _Attempt(self._plan, files, resolution)
        thread = threading.Thread(target=attempt.run, name="herdbook-load", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            files.release()
            raise PreparationFailed("load", error) from error
        if not attempt.ends_within(self._timeout_seconds):
            self.given_up.append(thread)
            self._plan.interrupt(thread)
            raise PreparationFailed(attempt.activity, _late(self._timeout_seconds))
        thread.join()
        return attempt.outcome()


class _Attempt(Generic[ModelT]):
    """One candidate's way through the user's code."""

    def __init__(
        self, plan: LivePlan[ModelT], files: CachedVersion, resolution: Resolution
    ) -> None:
        self.activity = ""
        self._plan = plan
        self._files = files
        self._resolution = resolution
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._given_up = False
        self._held: HeldModel[ModelT] | None = None
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Does it, in a thread of its own."""
        try:
            self._held = self._prepare()
        except BaseException as error:  # noqa: BLE001 - it is told to whoever waits
            self._failure = error
            self._files.release()
        with self._lock:
            self._ended.set()
            given_up = self._given_up
        if given_up and self._held is not None:
            self._held.close()

    def ends_within(self, seconds: float) -> bool:
        """Waits for the end; gives up, and returns False, when it takes longer."""
        self._ended.wait(min(seconds, threading.TIMEOUT_MAX))
        with self._lock:
            self._given_up = not self._ended.is_set()
            return not self._given_up

    def outcome(self) -> HeldModel[ModelT]:
        """Returns the model, or raises what was raised instead."""
        held, self._held = self._held, None
        failure, self._failure = self._failure, None
        if held is None:
            raise failure or RuntimeError("no attempt was made")
        return held

    def _prepare(self) -> HeldModel[ModelT]:
        started_at = time.monotonic()
        model = self._plan.prepare(self._files.path, begins=self._begin)
        return HeldModel(
            model,
            self._resolution,
            files=self._files,
            close=self._plan.closer(model),
            load_seconds=time.monotonic() - started_at,
        )

    def _begin(self, activity: str) -> None:
        if self._given_up:
            raise Cancelled("The candidate was given up.")
        self.activity = activity


def _late(timeout_seconds: float) -> LoadTimedOut:
    return LoadTimedOut(f"The candidate was not ready within {timeout_seconds:g} s.")


def _hanging(count: int) -> LoadTimedOut:
    return LoadTimedOut(f"{count} candidates that were given up still run; no more are begun.")
