"""What the audience of the demonstration sees."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from herdbook.cli.texts import printable

_WIDTH_WITHOUT_TERMINAL = 120


class Narrator:
    """Tells the story, checks its promises, and remembers which were broken."""

    def __init__(self, console: Console | None = None) -> None:
        """Starts the clock of the story."""
        self._console = console or _console()
        self._started = time.monotonic()
        self._acts = 0
        self._kept = 0
        self._broken: list[str] = []

    @property
    def broken(self) -> tuple[str, ...]:
        """The promises that were broken."""
        return tuple(self._broken)

    def act(self, title: str) -> None:
        """Opens the next act."""
        self._acts += 1
        self._console.print()
        self._print(f"{self._acts}. {title}", "bold cyan")

    def say(self, sentence: str) -> None:
        """Says one sentence."""
        self._print(f"   {sentence}")

    def command(self, line: str) -> None:
        """Shows what a person would type for what happens now."""
        self._print(f"   $ {line}", "dim")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Shows rows."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for column in columns:
            table.add_column(column, header_style="bold", overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self._console.print(Padding(table, (0, 0, 0, 3), expand=False))

    def promise(self, sentence: str, *, kept: bool) -> None:
        """Shows whether something was as promised."""
        if kept:
            self._kept += 1
        else:
            self._broken.append(sentence)
        self._print(f"   {'✓' if kept else '✗'} {sentence}", "green" if kept else "bold red")

    def fail(self, sentence: str) -> None:
        """Says why the story ends early."""
        self._console.print()
        self._print(sentence, "bold red")

    def close(self) -> bool:
        """Says how it went; returns whether every promise was kept."""
        self._console.print()
        seconds = time.monotonic() - self._started
        if self._broken:
            self._print(f"{len(self._broken)} promises were broken, {self._kept} kept:", "bold red")
            for sentence in self._broken:
                self._print(f"   ✗ {sentence}", "red")
            return False
        self._print(f"All {self._kept} promises kept, in {seconds:.0f} seconds.", "bold green")
        return True

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(
            Text(printable(text), style=style or ""), highlight=False, soft_wrap=True
        )


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_WITHOUT_TERMINAL)
