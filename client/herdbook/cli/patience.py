"""Waiting for a server that goes away for a while, in commands that wait anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from herdbook.cli.output import Output
from herdbook.errors import DeadlineExceeded, HerdbookError, Unavailable

T = TypeVar("T")

_AWAY: Final = (Unavailable, DeadlineExceeded)


class Patience:
    """Asks a server that has answered before; says once that it is away, once that it is back."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._away = False

    def ask(self, question: Callable[[], T]) -> T | None:
        """Returns the answer, or None while the server is away."""
        try:
            answer = question()
        except _AWAY as error:
            self._miss(error)
            return None
        self._hear()
        return answer

    def listen(self, items: Iterable[T]) -> Iterator[T]:
        """Gives what a list holds, as far as the server gets."""
        try:
            yield from items
        except _AWAY as error:
            self._miss(error)
        else:
            self._hear()

    def _miss(self, error: HerdbookError) -> None:
        if not self._away:
            self._output.note(f"{error} Waiting for the server.")
        self._away = True

    def _hear(self) -> None:
        if self._away:
            self._output.note("The server answers again.")
        self._away = False
