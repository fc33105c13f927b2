"""Waiting for a server that goes away for a while, in commands that wait anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from herdbook.cli.output import Output
from herdbook.errors import DeadlineExceeded, Draining, HerdbookError, Overloaded, Unavailable

T = TypeVar("T")

_AWAY: Final = (Unavailable, DeadlineExceeded)
_BUSY: Final = (Draining, Overloaded)


class Patience:
    """Bears with a server that has answered before; says why it is away, and that it is back."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told: set[type[HerdbookError]] = set()
        """Why the server is away, as far as that has been said."""
        self._answered = False

    def contact(self, error: HerdbookError | None) -> None:
        """Takes what a watch tells of its connection.

        Raises:
            HerdbookError: `error` itself, if the server has never answered, and is not just busy.
        """
        if error is None:
            self._answered = True
            self._hear()
        elif self._answered or isinstance(error, _BUSY):
            self._answered = True
            self._miss(error)
        else:
            raise error

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
        if type(error) not in self._told:
            told = str(error)
            end = "" if told.endswith((".", "]")) else "."
            self._output.note(f"{told}{end} Waiting for the server.")
        self._told.add(type(error))

    def _hear(self) -> None:
        if self._told:
            self._output.note("The server answers again.")
        self._told.clear()
