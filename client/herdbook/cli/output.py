"""What the command writes: JSON for programs, tables and sentences for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from herdbook.cli.errors import error_document, hint_of
from herdbook.cli.texts import printable
from herdbook.errors import HerdbookError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ROWS_PER_TABLE = 500
_WIDTH_WITHOUT_TERMINAL = 10_000


def json_text(value: object) -> str:
    """Writes any value of the client as JSON in one line."""
    return _json(value)


class Output:
    """Writes answers to stdout and everything else to stderr.

    With `as_json` stdout holds one JSON document, or one a line for streams, and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        """Makes the output; consoles are made when first used."""
        self.as_json = as_json

    @cached_property
    def console(self) -> Console:
        """Where answers for people go."""
        return _console(stderr=False)

    @cached_property
    def notes(self) -> Console:
        """Where progress, notes and errors go."""
        return _console(stderr=True)

    def document(self, value: object) -> None:
        """Writes the one document of an answer."""
        _write(_json(value, indent=2 if sys.stdout.isatty() else None) + "\n")

    def documents(self, values: Iterable[object]) -> None:
        """Writes a list as one document, item by item as they come."""
        opening = "["
        for value in values:
            _write(f"{opening}\n{json_text(value)}")
            opening = ","
        _write("[]\n" if opening == "[" else "\n]\n")

    def line(self, value: object) -> None:
        """Writes one document of a stream, at once."""
        _write(json_text(value) + "\n")
        sys.stdout.flush()

    def say(self, sentence: str, *, style: str | None = None) -> None:
        """Writes one sentence for people."""
        self.console.print(printable(sentence), style=style, markup=False, highlight=False)

    def note(self, sentence: str) -> None:
        """Writes a sentence beside the answer."""
        self.notes.print(printable(sentence), style="dim", markup=False, highlight=False)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        empty: str = "Nothing found.",
    ) -> None:
        """Writes rows as tables of bounded length, so that memory stays bounded, too."""
        remaining = iter(rows)
        part = list(islice(remaining, _ROWS_PER_TABLE))
        if not part:
            self.note(empty)
        while part:
            self.console.print(self._table(columns, part))
            part = list(islice(remaining, _ROWS_PER_TABLE))

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Writes names and values side by side."""
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(Text(printable(name)), Text(printable(value)))
        self.console.print(grid)

    def error(self, error: BaseException, *, server: str | None = None, meant: str = "") -> None:
        """Writes what went wrong to stderr, as one sentence or as one JSON document.

        `meant` is the name that was perhaps meant, if one was wrong.
        """
        hint = f"did you mean {meant}?" if meant else hint_of(error, server=server)
        if self.as_json:
            sys.stderr.write(_json(error_document(error, hint)) + "\n")
            return
        reason = f" [{error.reason}]" if isinstance(error, HerdbookError) else ""
        sentence = printable(str(error) or type(error).__name__)
        self.notes.print(f"Error: {sentence}{reason}", style="red", markup=False, highlight=False)
        if hint:
            self.note(f"Hint: {hint}")

    def _table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD if self.console.is_terminal else None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        return table


def limited(items: Iterable[Any], limit: int, output: Output) -> Iterator[Any]:
    """Gives the first `limit` items, and a note if there are more; all if it is 0."""
    if limit == 0:
        yield from items
        return
    remaining = iter(items)
    yield from islice(remaining, limit)
    if next(remaining, None) is not None:
        output.note(f"There are more than {limit}; --limit 0 shows all.")


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class PipeAwareConsole(Console):
        """Leaves a closed pipe to the command."""

        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - rich calls this while it handles the error

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return PipeAwareConsole(stderr=stderr, width=width, soft_wrap=False)


def _json(value: object, *, indent: int | None = None) -> str:
    from herdbook.core.plain import plain

    universal = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(plain(value), ensure_ascii=not universal, allow_nan=False, indent=indent)


def _write(text: str) -> None:
    sys.stdout.write(text)
