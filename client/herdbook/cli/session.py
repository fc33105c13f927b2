"""What each command has at hand: its settings, a client, an output."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import typer

from herdbook.cli.exits import ExitCode, exit_code_of
from herdbook.cli.nearby import nearby
from herdbook.cli.options import (
    CallTimeoutOption,
    JsonOption,
    ServerOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsOption,
    TokenOption,
)
from herdbook.cli.output import Output
from herdbook.errors import HerdbookError

if TYPE_CHECKING:
    from herdbook.client import Client

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that every command takes; None means: as the environment says."""

    server: ServerOption = None
    token: TokenOption = None
    tls: TlsOption = None
    tls_ca: TlsCaOption = None
    tls_cert: TlsCertOption = None
    tls_key: TlsKeyOption = None
    call_timeout: CallTimeoutOption = None
    as_json: JsonOption = False

    def over(self, other: Settings) -> Settings:
        """Returns the other settings with those that are given here put over them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        unset = {"as_json": False}
        return replace(
            other, **{name: value for name, value in given.items() if value is not unset.get(name)}
        )

    def __repr__(self) -> str:
        """Shows where, not with what token."""
        return f"Settings(server={self.server!r})"


class Session:
    """One run of one command."""

    def __init__(self, settings: Settings) -> None:
        """Makes the session; nothing connects before `client` is used."""
        self.settings = settings
        self.output = Output(as_json=settings.as_json)
        self._opened = contextlib.ExitStack()

    @cached_property
    def client(self) -> Client:
        """The connection to the server."""
        return self._opened.enter_context(open_client(self.settings))

    @property
    def server(self) -> str:
        """Where the server is, as far as known."""
        return self.client.server if "client" in self.__dict__ else ""

    def nearby(self, error: BaseException) -> str:
        """Returns the name that was perhaps meant, if the error is that there is none such."""
        return nearby(self.client, error) if "client" in self.__dict__ else ""

    def confirm(self, question: str, *, yes: bool) -> None:
        """Asks before something is done; without a terminal nobody can answer, and nothing is done.

        Raises:
            typer.Exit: The answer is no.
            typer.BadParameter: There is nobody to ask.
        """
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise typer.BadParameter("there is no terminal to ask at: --yes says that it is meant")
        if not typer.confirm(question, err=True):
            raise typer.Exit(ExitCode.FAILED)

    def close(self) -> None:
        """Closes the connection, if there is one."""
        self._opened.close()


def open_client(settings: Settings) -> Client:
    """Makes the client that the settings describe."""
    from herdbook.client import Client
    from herdbook.transport.connection import DEFAULT_TIMEOUT_SECONDS

    return Client(
        settings.server,
        token=settings.token,
        tls=tls_of(settings),
        timeout_seconds=settings.call_timeout or DEFAULT_TIMEOUT_SECONDS,
    )


def tls_of(settings: Settings) -> Any:
    """Returns what the client takes as `tls`."""
    files: tuple[Path | None, ...] = (settings.tls_ca, settings.tls_cert, settings.tls_key)
    if not any(files):
        return settings.tls
    if settings.tls is False:
        raise typer.BadParameter("--no-tls contradicts the files for TLS")
    from herdbook.transport.connection import TLS

    return TLS(ca=settings.tls_ca, cert=settings.tls_cert, key=settings.tls_key)


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str] = (), panel: str | None = None
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Makes a function that takes a session a command of `app`.

    The command takes the options of `Settings` besides the function's own. Errors become one
    sentence and an exit code.

    Args:
        app: Where the command belongs.
        name: What users type.
        examples: Command lines to show in the help.
        panel: Under which heading of the help it is listed.
    """

    def register(
        function: Callable[Concatenate[Session, P], None],
    ) -> Callable[Concatenate[Session, P], None]:
        help_text = with_examples(inspect.getdoc(function) or "", examples)
        app.command(name, help=help_text, rich_help_panel=panel)(_callback(function))
        return function

    return register


def with_examples(text: str, examples: Sequence[str]) -> str:
    """Appends command lines to a help text, in typer's notation for text that is not reflowed."""
    if not examples:
        return text
    return "\n\n".join([text, "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])])


def _callback(function: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = settings_parameters()

    @functools.wraps(function)
    def callback(ctx: typer.Context, **values: Any) -> None:
        given = Settings(**{name: values.pop(name) for name in shared})
        settings = given.over(ctx.find_root().obj or Settings())
        with running(settings) as session:
            function(session, **values)  # type: ignore[call-arg]  # typer gives what the signature says

    return with_signature(callback, [*own, *shared.values()])


def settings_parameters() -> Mapping[str, inspect.Parameter]:
    """Returns the parameters that make up `Settings`, as typer reads them."""
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(Settings, eval_str=True).parameters
    return {name: p.replace(kind=keyword_only) for name, p in parameters.items()}


def with_signature(
    callback: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """Makes typer see these parameters, and the context, on a callback."""
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("ctx", keyword_only, annotation=typer.Context)
    listed = [context, *(p.replace(kind=keyword_only) for p in parameters)]
    callback.__dict__.pop("__wrapped__", None)
    callback.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in listed}
    return callback


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Session]:
    """Runs a command: closes what it opened, tells its errors, and ends with their code.

    Raises:
        typer.Exit: With the code, if it is not 0.
    """
    session = Session(settings)
    try:
        with _telling_errors(session):
            yield session
            sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        raise typer.Exit(ExitCode.CLOSED_PIPE) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        session.close()


@contextlib.contextmanager
def _telling_errors(session: Session) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except (HerdbookError, OSError) as error:
        session.output.error(error, server=session.server, meant=session.nearby(error))
        raise typer.Exit(exit_code_of(error)) from None


def _abandon_stdout() -> None:
    """Lets the interpreter's last flush go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
