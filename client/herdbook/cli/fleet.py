"""Commands about what changes: watch, convergence, events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated

import typer

from herdbook.cli.exits import ExitCode
from herdbook.cli.options import FilterOption, LimitOption, parse_duration, parse_share
from herdbook.cli.output import Output
from herdbook.cli.panels import FLEET
from herdbook.cli.patience import Patience
from herdbook.cli.session import Session, command
from herdbook.cli.texts import age, one_line, version_text
from herdbook.core.values import Convergence, Event, ReferenceState, ReplicaReport

_EVENT_LIMIT = 50
_POLL_SECONDS = 1.0
_EVENT_COLUMNS = ("REVISION", "TIME", "EVENT", "WHAT", "CHANGE", "BY", "REASON")
_REPLICA_COLUMNS = ("REPLICA", "HOST", "STATE", "VERSION", "SERVES", "REPORTED", "FAILURE")


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    watches = (
        "herdbook watch fraud/tc@champion fraud/tc@challenger",
        "herdbook watch --prefix fraud/ --json",
        "herdbook watch fraud/tc@champion --once",
    )
    command(app, "watch", examples=watches, panel=FLEET)(watch)
    convergences = (
        "herdbook convergence fraud/tc@champion",
        "herdbook convergence fraud/tc@champion --wait --min-ready 95% --timeout 10m",
    )
    command(app, "convergence", examples=convergences, panel=FLEET)(convergence)
    events = (
        "herdbook events fraud/tc",
        "herdbook events --follow --json",
        'herdbook events --after 1200 --filter \'kind = "alias_set" AND actor = "ci"\'',
    )
    command(app, "events", examples=events, panel=FLEET)(show_events)


def watch(
    session: Session,
    references: Annotated[
        list[str] | None,
        typer.Argument(metavar="REF…", help="What to watch.", show_default=False),
    ] = None,
    *,
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", metavar="TEXT", help="Every alias of models so named; repeat."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Tell the present state of each, then end.")
    ] = False,
) -> None:
    """Tell what references name, now and whenever that changes.

    Goes on through breaks and restarts of the server, and says so on standard error. With --json
    each state is one line. With --once the exit code is 3 if one of them names nothing.
    """
    if not references and not prefix:
        raise typer.BadParameter("give references to watch, or --prefix")
    if once and prefix:
        raise typer.BadParameter("--once goes with references, not with --prefix")
    states = session.client.watch(
        references or (), prefixes=prefix or (), on_contact=Patience(session.output).contact
    )
    missing = False
    for state in _first_of_each(states, set(references or ())) if once else states:
        missing |= state.resolution is None
        if session.output.as_json:
            session.output.line(state)
        else:
            session.output.say(state_text(state))
    if missing:
        raise typer.Exit(ExitCode.NOT_FOUND)


def _first_of_each(states: Iterable[ReferenceState], awaited: set[str]) -> Iterator[ReferenceState]:
    for state in states:
        if state.reference in awaited:
            awaited.discard(state.reference)
            yield state
        if not awaited:
            return


def state_text(state: ReferenceState) -> str:
    """Writes a state in one line."""
    if state.resolution is None:
        return (
            f"{state.reference} names nothing ({state.missing_reason}), revision {state.revision}"
        )
    return f"{state.reference} → {state.resolution.reference}, revision {state.revision}"


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
    patience, told = Patience(session.output), ""
    ask = partial(session.client.get_convergence, reference)
    reached = ask()
    while not (reached.target_version is None or _ready(reached, min_ready)):
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0:
            break
        if told != (told := convergence_text(reached)):
            session.output.note(told)
        time.sleep(min(_POLL_SECONDS, left_seconds))
        reached = patience.ask(ask) or reached
    return reached


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


def show_events(
    session: Session,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Of which model; else of all.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as new ones come.")] = False,
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, metavar="REVISION", help="Only those of greater revisions."),
    ] = None,
    filter: FilterOption = None,
    limit: LimitOption = None,
) -> None:
    """Show what happened, the oldest first: the last ones, or those after a revision.

    With --json each event is one line.
    """
    if limit is None:
        limit = 0 if session.output.as_json else _EVENT_LIMIT

    def listed(after_revision: int) -> Iterator[Event]:
        return session.client.list_events(model, after_revision=after_revision, filter=filter)

    if after is None and limit:
        newest = session.client.list_events(model, filter=filter, descending=True)
        found: Iterable[Event] = reversed(list(islice(newest, limit)))
    else:
        found = listed(after or 0) if follow or not limit else islice(listed(after or 0), limit)
    if follow:
        _tell_events(session.output, _followed(found, listed, after or 0, session.output))
    elif session.output.as_json:
        _tell_events(session.output, found)
    else:
        session.output.table(_EVENT_COLUMNS, map(_event_row, found), empty="Nothing happened.")


def _followed(
    first: Iterable[Event], listed: Callable[[int], Iterator[Event]], after: int, output: Output
) -> Iterator[Event]:
    """Goes on with what comes after the first events; revisions without gaps make that exact.

    A server that goes away meanwhile is waited for.
    """
    patience, found = Patience(output), first
    while True:
        for event in found:
            after = event.revision
            yield event
        time.sleep(_POLL_SECONDS)
        found = patience.listen(listed(after))


def _tell_events(output: Output, events: Iterable[Event]) -> None:
    for event in events:
        if output.as_json:
            output.line(event)
        else:
            output.say("  ".join(filter(None, _event_row(event))))


def _event_row(event: Event) -> tuple[str, ...]:
    return (
        str(event.revision),
        age(event.time),
        event.kind.value,
        event_subject(event),
        change_text(event),
        event.actor,
        one_line(event.reason),
    )


def change_text(event: Event) -> str:
    """Writes what was before and what is now, where an event has such."""
    if not (event.from_value or event.to_value):
        return ""
    return f"{event.from_value or '-'} → {event.to_value or '-'}"


def event_subject(event: Event) -> str:
    """Names what an event is about."""
    if event.alias:
        return f"{event.model}@{event.alias}"
    return f"{event.model}:{event.version}" if event.version else event.model
