"""Progress of transfers, for people at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from herdbook.cli.output import Output
from herdbook.cli.texts import printable, size_text
from herdbook.core.values import TransferProgress, VerificationProgress


@contextmanager
def transfer_progress(
    output: Output, what: str
) -> Iterator[Callable[[TransferProgress], None] | None]:
    """Shows a bar on stderr until the block ends; None where there is no terminal to show it at.

    Says what an interruption means.
    """
    try:
        with _transfer_bar(output, what) as show:
            yield show
    except KeyboardInterrupt:
        output.note("Interrupted; the same command moves only what is missing then.")
        raise


@contextmanager
def _transfer_bar(output: Output, what: str) -> Iterator[Callable[[TransferProgress], None] | None]:
    if not output.notes.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[moved]} moved, {task.fields[saved]} saved of {task.fields[size]}"),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=output.notes, transient=True) as bar:
        task = bar.add_task(printable(what), total=None, moved="0 B", saved="0 B", size="…")

        def show(progress: TransferProgress) -> None:
            bar.update(
                task,
                total=progress.total_bytes,
                completed=progress.done_bytes,
                moved=size_text(progress.moved_bytes),
                saved=size_text(progress.saved_bytes),
                size=size_text(progress.total_bytes),
            )

        yield show


@contextmanager
def verification_progress(
    output: Output,
) -> Iterator[Callable[[VerificationProgress], None] | None]:
    """Shows a bar on stderr until the block ends; None where there is no terminal to show it at."""
    if not output.notes.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("Verifying"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=output.notes, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(progress: VerificationProgress) -> None:
            bar.update(task, total=progress.total_bytes, completed=progress.checked_bytes)

        yield show
