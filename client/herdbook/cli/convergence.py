"""The command that tells how far a reference has reached the fleet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from herdbook.cli.exits import ExitCode
from herdbook.cli.options import parse_duration, parse_share
from herdbook.cli.output import Output
from herdbook.cli.panels import FLEET
from herdbook.cli.patience import Patience
from herdbook.cli.session import Session, command
from herdbook.cli.texts import age, one_line, printable, version_text
from herdbook.core.values import Convergence, ReplicaReport

if TYPE_CHECKING:
    from rich.table import Table

_POLL_SECONDS: Final = 1.0
_SHOWN_FAILURES: Final = 10
_BAR_WIDTH: Final = 40
_REPLICA_COLUMNS: Final = (
    *("REPLICA", "HOST", "STATE", "VERSION", "SERVES", "REPORTED", "FAILURE"),
)


def add_commands(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    examples = (
        "herdbook convergence fraud/tc@champion",
        "herdbook convergence fraud/tc@champion --wait --min-ready 95% --timeout 10m",
    )
    command(app, "convergence", examples=examples, panel=FLEET)(convergence)


def convergence(
    session: Session,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="The reference as the replicas watch it.", show_default=False
        ),
    ],
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until enough replicas serve it.")
    ] = False,
    min_ready: Annotated[
        str, typer.Option("--min-ready", metavar="SHARE", help="How many of them are enough.")
    ] = "100%",
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            help="For how long; the exit code is 6 if it takes longer.",
        ),
    ] = "10m",
    replicas: Annotated[bool, typer.Option("--replicas", help="List every live replica.")] = False,
) -> None:
    """Show how many live replicas serve the version that a reference names."""
    output, share = session.output, parse_share(min_ready)
    if wait:
        reached = _await_convergence(session, reference, share, parse_duration(timeout))
    else:
        reached = session.client.get_convergence(reference)
    listed = list(session.client.list_replicas(reference)) if replicas else None
    if output.as_json:
        document = {"convergence": reached, "converged": reached.converged}
        output.document(document if listed is None else document | {"replicas": listed})
    else:
        output.say(convergence_text(reached))
        _show_replicas(output, reached.failures if listed is None else listed)
    if reached.target_version is None:
        raise typer.Exit(ExitCode.NOT_FOUND)
    if wait and not _ready(reached, share):
        output.note(f"Not within {timeout}.")
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _await_convergence(
    session: Session, reference: str, min_ready: float, timeout_seconds: float
) -> Convergence:
    """Asks until enough replicas serve the target, there is none, or time is up.

    Returns the last answer. A server that goes away meanwhile is waited for.
    """
    deadline = time.monotonic() + timeout_seconds
    patience = Patience(session.output)
    ask = partial(session.client.get_convergence, reference)
    reached = ask()
    with _telling(session.output) as tell:
        while not (reached.target_version is None or _ready(reached, min_ready)):
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                break
            tell(reached)
            time.sleep(min(_POLL_SECONDS, left_seconds))
            reached = patience.ask(ask) or reached
    return reached


@contextmanager
def _telling(output: Output) -> Iterator[Callable[[Convergence], None]]:
    """Gives what tells of an answer: redrawn at a terminal, else a line for each that differs."""
    if output.notes.is_terminal:
        from rich.live import Live

        with Live(console=output.notes, transient=True, auto_refresh=False) as live:
            yield lambda reached: live.update(_picture(reached), refresh=True)
        return
    told = ""

    def note(reached: Convergence) -> None:
        nonlocal told
        if told != (told := convergence_text(reached)):
            output.note(told)

    yield note


def _picture(reached: Convergence) -> Table:
    """Draws how many serve what, and the first failures."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    picture = Table.grid(padding=(0, 1))
    picture.add_row(Text(printable(convergence_text(reached))))
    total = max(reached.replica_count, 1)
    picture.add_row(ProgressBar(total, reached.converged_count, width=_BAR_WIDTH))
    for report in reached.failures[:_SHOWN_FAILURES]:
        who = report.replica.name or report.replica.id
        picture.add_row(Text(printable(f"{who}: {one_line(report.failure)}"), style="red"))
    return picture


def _ready(reached: Convergence, min_ready: float) -> bool:
    """Whether enough replicas serve the target; where there are none, nobody serves it."""
    if reached.target_version is None or reached.replica_count == 0:
        return False
    return reached.converged_count >= min_ready * reached.replica_count


def convergence_text(reached: Convergence) -> str:
    """Writes how far a reference has reached the fleet, in one sentence."""
    if reached.target_version is None:
        return f"{reached.reference} names no version; {reached.replica_count} replicas watch it."
    target = f"version {reached.target_version}"
    if reached.replica_count == 0:
        return f"{reached.reference} names {target}; no live replica watches it."
    counts = [
        f"{reached.converged_count} of {reached.replica_count} serve {target}",
        f"{reached.failed_count} failed" if reached.failed_count else "",
        f"{reached.pending_count} on the way" if reached.pending_count else "",
        _others(reached),
    ]
    return f"{reached.reference}: {', '.join(filter(None, counts))}."


def _others(reached: Convergence) -> str:
    others = {
        number: count
        for number, count in sorted(reached.serving_counts.items())
        if number != reached.target_version
    }
    return ", ".join(
        f"{count} serve {f'version {number}' if number else 'nothing'}"
        for number, count in others.items()
    )


def _show_replicas(output: Output, reports: Iterable[ReplicaReport]) -> None:
    rows = [_replica_row(report) for report in reports]
    if rows:
        output.table(_REPLICA_COLUMNS, rows)


def _replica_row(report: ReplicaReport) -> tuple[str, ...]:
    return (
        report.replica.name or report.replica.id,
        report.replica.host,
        report.state.value,
        version_text(report.version),
        version_text(report.serving_version),
        age(report.reported_at),
        one_line(report.failure),
    )
