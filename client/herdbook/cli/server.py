"""Commands that run the server, whose package brings them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import typer

from herdbook.cli.exits import ExitCode
from herdbook.cli.panels import SERVER

_NEEDED = ("aiosqlite", "grpc_health", "lark", "pydantic_settings")


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    from herdbook_server import cli as server

    app.command("serve", rich_help_panel=SERVER)(_where_installed(server.serve))
    app.command("migrate", rich_help_panel=SERVER)(_where_installed(server.migrate))


def _where_installed(function: Callable[..., None]) -> Callable[..., None]:
    """Says how to install what a command of the server needs, before it fails for want of it."""

    @functools.wraps(function)
    def checked(**values: Any) -> None:
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            typer.echo("The server is not installed: pip install 'herdbook[server]'", err=True)
            raise typer.Exit(ExitCode.FAILED)
        function(**values)

    return checked
