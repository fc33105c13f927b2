"""How a version becomes a model that may serve."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from herdbook.live import log
from herdbook.live.errors import ValidationFailed
from herdbook.live.status import LiveStatus

ModelT = TypeVar("ModelT")


class PreparationFailed(Exception):
    """Carries what the user's code raised, and where."""

    def __init__(self, activity: str, error: BaseException) -> None:
        """Says in which activity it was raised."""
        super().__init__(activity)
        self.activity = activity
        self.error = error


class Bridge(Protocol):
    """Between the user's functions and the threads that call them."""

    def adapt(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Makes a function one that any thread can call.

        Raises:
            FieldInvalid: It is async, and there is no loop for it.
        """

    def interrupt(self, thread: threading.Thread) -> None:
        """Cancels what a thread waits for, as far as that can be done."""


@dataclass(frozen=True, slots=True)
class LivePlan(Generic[ModelT]):
    """The user's code."""

    loader: Callable[[Path], ModelT]
    """Makes the model of the version's directory."""

    warmup: Callable[[ModelT], object] | None = None
    """Makes it fast."""

    validate: Callable[[ModelT], object] | None = None
    """Raises or returns False to turn it down."""

    close: Callable[[ModelT], object] | None = None
    """Frees what it holds; None: its own `close`, if it has one."""

    on_change: Callable[[LiveStatus], object] | None = None
    """Is told what has changed."""

    interrupt: Callable[[threading.Thread], object] = lambda _: None
    """Cancels what a thread that was given up waits for, as far as that can be done."""

    def prepare(self, path: Path, *, begins: Callable[[str], object]) -> ModelT:
        """Loads, warms up and validates; what is turned down is closed.

        Args:
            path: Where the version's files are.
            begins: Is told what is done from now on.

        Raises:
            PreparationFailed: Something raised.
        """
        activity = "load"
        begins(activity)
        try:
            model = self.loader(path)
        except BaseException as error:
            raise PreparationFailed(activity, error) from error
        try:
            activity = "warm-up"
            begins(activity)
            if self.warmup is not None:
                self.warmup(model)
            activity = "validation"
            begins(activity)
            self._validate(model)
        except BaseException as error:
            self._close_rejected(model)
            raise PreparationFailed(activity, error) from error
        return model

    def closer(self, model: ModelT) -> Callable[[ModelT], object] | None:
        """Returns what closes the model; None if nothing needs to."""
        if self.close is not None:
            return self.close
        return _close_itself if callable(getattr(model, "close", None)) else None

    def _validate(self, model: ModelT) -> None:
        if self.validate is not None and self.validate(model) is False:
            raise ValidationFailed("validate returned False.")

    def _close_rejected(self, model: ModelT) -> None:
        close = self.closer(model)
        try:
            if close is not None:
                close(model)
        except BaseException:  # noqa: BLE001 - it is the user's code
            log.exception("A candidate that was turned down was not closed well")


def _close_itself(model: object) -> object:
    return model.close()  # type: ignore[attr-defined]
