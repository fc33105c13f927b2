"""Commands about what changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from herdbook.core.values import (
    Event,
    EventKind,
    ReferenceState,
    Resolution,
)
from herdbook.core.watching import OnContact
from herdbook.errors import Draining, Unauthenticated, Unavailable
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.test_convergence import away_after_the_first
from tests.unit.cli.test_reading import SOME_TIME


def state(reference: str, version: int | None, revision: int) -> ReferenceState:
    if version is None:
        return ReferenceState(reference, None, revision, missing_reason="ALIAS_NOT_FOUND")
    return ReferenceState(reference, Resolution("m", version), revision)


def test_states_are_told_as_they_come(herdbook: CommandLine) -> None:
    states = [state("m@a", None, 3), state("m@a", 7, 4)]
    assert herdbook("watch", "m@a", watch=states).stdout.splitlines() == [
        "m@a names nothing (ALIAS_NOT_FOUND), revision 3",
        "m@a → m:7, revision 4",
    ]


def test_states_are_one_line_each_for_programs(herdbook: CommandLine) -> None:
    states = [state("m@a", None, 3), state("m@a", 7, 4)]
    lines = herdbook("watch", "--prefix", "m", "--json", watch=states).stdout.splitlines()
    assert [json.loads(line)["revision"] for line in lines] == [3, 4]
    arguments = herdbook.client.arguments("watch")
    assert (arguments["references"], arguments["prefixes"]) == ((), ["m"])


def test_a_watch_says_when_the_server_is_away_why_and_when_it_is_back(
    herdbook: CommandLine,
) -> None:
    def states(*, on_contact: OnContact, **_: Any) -> Iterator[ReferenceState]:
        on_contact(None)
        yield state("m@a", 1, 3)
        away, who = Unavailable("It is away."), Unauthenticated("Who")
        for error in (away, away, who, away, who):
            on_contact(error)
        on_contact(None)
        yield state("m@a", 2, 4)

    result = herdbook("watch", "m@a", watch=states)
    assert result.stderr.splitlines() == [
        "It is away. Waiting for the server.",
        "Who. Waiting for the server.",
        "The server answers again.",
    ]
    assert len(result.stdout.splitlines()) == 2


def test_a_watch_waits_for_a_server_that_is_busy_at_first(herdbook: CommandLine) -> None:
    def states(*, on_contact: OnContact, **_: Any) -> Iterator[ReferenceState]:
        on_contact(Draining("It is going down."))
        on_contact(Unavailable("It is away."))
        on_contact(None)
        yield state("m@a", 1, 3)

    result = herdbook("watch", "m@a", watch=states)
    assert result.stderr.splitlines() == [
        "It is going down. Waiting for the server.",
        "It is away. Waiting for the server.",
        "The server answers again.",
    ]


def test_a_watch_of_a_server_that_never_answers_ends(herdbook: CommandLine) -> None:
    def states(*, on_contact: OnContact, **_: Any) -> Iterator[ReferenceState]:
        on_contact(Unavailable("It is away."))
        yield state("m@a", 1, 3)

    result = herdbook("watch", "m@a", watch=states)
    assert result.exit_code == 6
    assert "It is away." in result.stderr


def test_a_single_look_ends_when_every_state_is_known(herdbook: CommandLine) -> None:
    def states(**_: Any) -> Iterator[ReferenceState]:
        yield state("m@a", 1, 3)
        yield state("m@a", 2, 4)
        yield state("m@b", 1, 4)
        raise AssertionError("nothing more was needed")

    result = herdbook("watch", "m@a", "m@b", "--once", watch=states)
    assert result.exit_code == 0, result.exception
    assert len(result.stdout.splitlines()) == 2


def test_a_single_look_at_what_names_nothing_has_an_exit_code_of_its_own(
    herdbook: CommandLine,
) -> None:
    states = [state("m@a", 1, 3), state("m@b", None, 4)]
    result = herdbook("watch", "m@a", "m@b", "--once", watch=states)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize("arguments", [[], ["--prefix", "m", "--once"]])
def test_a_watch_must_know_what_to_watch(herdbook: CommandLine, arguments: list[str]) -> None:
    assert herdbook("watch", *arguments).exit_code == 2


def event(revision: int, **values: Any) -> Event:
    about: dict[str, Any] = {"model": "m", "version": None, "alias": None}
    about |= {"from_value": "", "to_value": "", "actor": "ana", "time": SOME_TIME, "reason": ""}
    return Event(revision, 0, EventKind.ALIAS_SET, **(about | values))


def listing(events: list[Event]) -> Any:
    def list_events(
        model: str | None, *, after_revision: int = 0, descending: bool = False, **_: Any
    ) -> Iterator[Event]:
        chosen = [one for one in events if one.revision > after_revision]
        return iter(chosen[::-1] if descending else chosen)

    return list_events


def test_people_see_the_last_events_the_oldest_first(herdbook: CommandLine) -> None:
    events = listing([event(n) for n in range(1, 100)])
    rows = herdbook("events", "-n", "3", list_events=events).stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["97", "98", "99"]


def test_events_after_a_revision_are_told_from_there(herdbook: CommandLine) -> None:
    events = listing([event(n) for n in range(1, 100)])
    lines = herdbook("events", "--after", "10", "-n", "2", "--json", list_events=events)
    assert [json.loads(line)["revision"] for line in lines.stdout.splitlines()] == [11, 12]


def test_programs_see_all_events(herdbook: CommandLine) -> None:
    events = listing([event(n) for n in range(1, 100)])
    assert len(herdbook("events", "--json", list_events=events).stdout.splitlines()) == 99


def test_an_event_says_what_it_is_about(herdbook: CommandLine) -> None:
    events = listing(
        [event(1, alias="a", version=7, from_value="6", to_value="7", reason="better")]
    )
    row = herdbook("events", list_events=events).stdout.splitlines()[1].split()
    assert row[-6:] == ["m@a", "6", "→", "7", "ana", "better"]


def test_following_goes_on_when_the_server_is_back(
    herdbook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("herdbook.cli.fleet.time.sleep", lambda _: None)
    pages = away_after_the_first(iter([[event(1)], [event(2)]]))

    def list_events(**arguments: Any) -> Iterator[Event]:
        try:
            yield from pages(**arguments)
        except StopIteration:
            raise KeyboardInterrupt from None

    result = herdbook("events", "--after", "0", "--follow", "--json", list_events=list_events)
    assert [json.loads(line)["revision"] for line in result.stdout.splitlines()] == [1, 2]
    assert result.stderr.count("The server answers again.") == 1
    asked = [arguments["after_revision"] for _, arguments in herdbook.client.calls]
    assert asked == [0, 1, 1, 1, 2, 2, 2]


def test_following_misses_nothing_and_repeats_nothing(
    herdbook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [event(1), event(2)]

    def sleep(_: float) -> None:
        if len(events) > 4:
            raise KeyboardInterrupt
        events.extend([event(len(events) + 1), event(len(events) + 2)])

    monkeypatch.setattr("herdbook.cli.fleet.time.sleep", sleep)
    result = herdbook("events", "--follow", "--json", list_events=listing(events))
    assert result.exit_code == 130
    assert [json.loads(line)["revision"] for line in result.stdout.splitlines()] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
