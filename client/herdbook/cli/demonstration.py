"""The command that shows the whole story."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from herdbook.cli.exits import ExitCode
from herdbook.cli.panels import SERVER

_NEEDED = ("aiosqlite", "joblib", "sklearn")


def add_commands(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("demo", rich_help_panel=SERVER)(demo)


def demo(
    *,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=64, help="How many threads ask for predictions.")
    ] = 4,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the data folder and say where it is.")
    ] = False,
) -> None:
    """Show the whole story on this machine, in about a minute.

    Starts a server in a temporary folder, trains and pushes two real models, moves an alias while
    another process serves predictions without a pause, has a broken model refused, and rolls back.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        typer.echo("The demo needs more: pip install 'herdbook[demo]'", err=True)
        raise typer.Exit(ExitCode.FAILED)
    from herdbook.cli.demo import run_demo

    raise typer.Exit(run_demo(threads=threads, keep=keep))
