"""The command line as a whole."""

from __future__ import annotations

import inspect
import io
import sys
from typing import Annotated, Any

import typer

from herdbook.cli import (
    aliases,
    caches,
    changes,
    convergence,
    demonstration,
    doctor,
    fleet,
    models,
    server,
    sidecar,
    transfer,
    versions,
)
from herdbook.cli.exits import exit_code_summary
from herdbook.cli.session import Settings, settings_parameters, with_examples, with_signature

_HELP = "Register models, move aliases, and see what serves."
_EXAMPLES = (
    "herdbook serve",
    "herdbook push fraud/tc ./model --metric rmse=6.1 --alias champion",
    "herdbook versions fraud/tc --order-by 'metrics.rmse asc'",
    "herdbook alias set fraud/tc@champion 7",
    "herdbook pull fraud/tc@champion ./model",
)
_NOUNS = (
    transfer,
    caches,
    models,
    versions,
    changes,
    aliases,
    fleet,
    convergence,
    sidecar,
    demonstration,
    server,
    doctor,
)


def run() -> None:
    """Runs the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a letter is no reason to fail.
            stream.reconfigure(errors="replace")
    build()(prog_name="herdbook")


def build() -> typer.Typer:
    """Puts the commands together."""
    app = typer.Typer(
        name="herdbook",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(help=with_examples(_HELP, _EXAMPLES), epilog=exit_code_summary())(_root())
    for noun in _NOUNS:
        noun.add_commands(app)
    return app


def _root() -> Any:
    """Makes the callback for the shared options where they stand before the command's name."""
    shared = settings_parameters()

    def root(ctx: typer.Context, **values: Any) -> None:
        ctx.obj = Settings(**{name: values[name] for name in shared})

    return with_signature(root, [_version_parameter(), *shared.values()])


def _version_parameter() -> inspect.Parameter:
    option = typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Show the version."
    )
    return inspect.Parameter(
        "version",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, option],
    )


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        from herdbook import __version__

        typer.echo(f"herdbook {__version__}")
        raise typer.Exit
