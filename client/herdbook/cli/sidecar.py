"""The command that keeps a directory current for a model server."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from herdbook.cli.logs import logged
from herdbook.cli.options import ReferenceArgument, parse_duration
from herdbook.cli.output import Output
from herdbook.cli.panels import FLEET
from herdbook.cli.session import Session, command, tls_of
from herdbook.core.layouts import Layout
from herdbook.errors import HerdbookError

if TYPE_CHECKING:
    from herdbook.live import LiveStatus
    from herdbook.sidecar import HealthServer, Hook, Sidecar

_EXAMPLES = (
    "herdbook sidecar fraud/tc@champion /models/tc",
    "herdbook sidecar fraud/tc@champion /models/tc --layout tf-serving",
    "herdbook sidecar fraud/tc@champion /models --layout triton --signal HUP --pid-file triton.pid",
    "herdbook sidecar fraud/tc@champion /models/tc --exec 'nginx -s reload' --health :8081",
    "herdbook sidecar fraud/tc@champion /models/tc --once",
)


def add_commands(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    command(app, "sidecar", examples=_EXAMPLES, panel=FLEET)(sidecar)


def sidecar(
    session: Session,
    reference: ReferenceArgument,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="What to keep current.", show_default=False)
    ],
    *,
    layout: Annotated[
        Layout, typer.Option("--layout", help="How the server finds the version.")
    ] = Layout.CURRENT,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The model's name in a Triton repository."),
    ] = None,
    keep: Annotated[
        int, typer.Option("--keep", min=0, metavar="N", help="Old versions to leave on the disk.")
    ] = 1,
    exec_: Annotated[
        str | None,
        typer.Option("--exec", metavar="COMMAND", help="Run after each change, without a shell."),
    ] = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="URL", help="Post to it after each change.")
    ] = None,
    send_signal: Annotated[
        str | None,
        typer.Option("--signal", metavar="SIGNAL", help="Send it after each change, such as HUP."),
    ] = None,
    pid_file: Annotated[
        Path | None, typer.Option("--pid-file", metavar="FILE", help="To which process.")
    ] = None,
    hook_timeout: Annotated[
        str,
        typer.Option("--hook-timeout", metavar="DURATION", help="How long one of these may take."),
    ] = "60s",
    hook_attempts: Annotated[
        int, typer.Option("--hook-attempts", min=1, metavar="N", help="How often it is tried.")
    ] = 3,
    health: Annotated[
        str | None,
        typer.Option(
            "--health",
            metavar="[HOST]:PORT",
            help="Answer /livez and /readyz; without HOST on every interface.",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when the first version is taken up.")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long that may take.")
    ] = "5m",
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", metavar="DIR", help="Else HERDBOOK_CACHE_DIR."),
    ] = None,
) -> None:
    """Keep a directory at the version that a reference names, for servers that are not Python.

    Links to a version change when all of it is there and verified; then the command, the call and
    the signal have the server take it up. If one of them fails, the links go back, and the fleet
    sees why. Runs until SIGTERM or Ctrl-C, and may be killed at any moment. Logs to stderr; with
    --json, each change is also a line of stdout.
    """
    from herdbook.sidecar import Hooks, Sidecar

    hooks = Hooks(
        _hooks(exec_, call, send_signal, pid_file),
        timeout_seconds=parse_duration(hook_timeout),
        attempts=hook_attempts,
    )
    settings = session.settings
    kept = Sidecar(
        reference,
        directory,
        layout=layout,
        name=name,
        keep=keep,
        hooks=hooks,
        on_change=_telling(session.output),
        timeout_seconds=parse_duration(timeout),
        server=settings.server,
        cache_dir=cache_dir,
        token=settings.token,
        tls=tls_of(settings),
    )
    with logged(), _until_sigterm(), _causes(), ExitStack() as stack:
        if health is not None:
            stack.enter_context(_health(health, kept))
        with kept:
            if not once:
                threading.Event().wait()


@contextmanager
def _causes() -> Iterator[None]:
    """Tells why there is no first version, which exit code and hint follow from."""
    from herdbook.live import FirstLoadFailed

    try:
        yield
    except FirstLoadFailed as error:
        if isinstance(error.__cause__, HerdbookError):
            raise error.__cause__ from None
        raise


def _hooks(
    command_line: str | None, url: str | None, signal_name: str | None, pid_file: Path | None
) -> tuple[Hook, ...]:
    from herdbook.sidecar import Call, Command, Signal, parse_signal

    if (signal_name is None) != (pid_file is None):
        raise typer.BadParameter("--signal and --pid-file go together")
    hooks: list[Hook] = []
    if command_line is not None:
        hooks.append(Command(_words(command_line)))
    if url is not None:
        hooks.append(Call(url))
    if signal_name is not None and pid_file is not None:
        hooks.append(Signal(parse_signal(signal_name), pid_file))
    return tuple(hooks)


def _words(command_line: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command_line))
    except ValueError as error:
        raise typer.BadParameter(f"{command_line!r} is no command: {error}") from error
    if not words:
        raise typer.BadParameter("--exec is empty")
    return words


def _health(address: str, kept: Sidecar) -> HealthServer:
    from herdbook.sidecar import HealthServer

    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise typer.BadParameter(f"{address!r} is no address such as :8081 or 127.0.0.1:8081")
    try:
        return HealthServer(host.strip("[]"), int(port), ready=kept.is_ready, status=kept.status)
    except (OSError, OverflowError) as error:
        raise typer.BadParameter(f"nothing can listen at {address}: {error}") from error


class _Terminated(BaseException):
    """SIGTERM has come."""


@contextmanager
def _until_sigterm() -> Iterator[None]:
    """Ends the block at SIGTERM, whatever it waits for; what it has opened is closed."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Terminated:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _telling(output: Output) -> Callable[[LiveStatus], None] | None:
    """Returns what tells programs of each change; people read the log."""
    return (lambda status: output.line(_document(status))) if output.as_json else None


def _document(status: LiveStatus) -> dict[str, Any]:
    return {
        "reference": status.reference,
        "state": status.state,
        "serving": status.serving,
        "target": status.target,
        "candidate": status.candidate,
        "failure": status.failure and status.failure.reason,
        "missing_reason": status.missing_reason,
        "connected": status.connected,
    }
