"""Commands about what changes: watch and events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Annotated

import typer

from herdbook.cli.exits import ExitCode
from herdbook.cli.options import FilterOption, LimitOption
from herdbook.cli.output import Output
from herdbook.cli.panels import FLEET
from herdbook.cli.patience import Patience
from herdbook.cli.session import Session, command
from herdbook.cli.texts import age, one_line
from herdbook.core.values import Event, ReferenceState

_EVENT_LIMIT = 50
_POLL_SECONDS = 1.0
_EVENT_COLUMNS = ("REVISION", "TIME", "EVENT", "WHAT", "CHANGE", "BY", "REASON")


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    watches = (
        "herdbook watch fraud/tc@champion fraud/tc@challenger",
        "herdbook watch --prefix fraud/ --json",
        "herdbook watch fraud/tc@champion --once",
    )
    command(app, "watch", examples=watches, panel=FLEET)(watch)
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
    """Writes what was before and what is now, or the version of an alias, if an event tells."""
    if not (event.from_value or event.to_value):
        return str(event.version) if event.alias and event.version else ""
    return f"{event.from_value or '-'} → {event.to_value or '-'}"


def event_subject(event: Event) -> str:
    """Names what an event is about."""
    if event.alias:
        return f"{event.model}@{event.alias}"
    return f"{event.model}:{event.version}" if event.version else event.model
