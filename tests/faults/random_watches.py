"""Watches beside moves, deletions, kills and cuts, as chance has it.

`python -m tests.faults.random_watches --rounds 300` runs two servers over PostgreSQL, of which one
hears no NOTIFY. Whatever happens, each watcher sees growing revisions and ends at what the database
holds.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from herdbook import AliasNotFound, Client, HerdbookError, ReferenceState
from herdbook.core.watching import Disconnected, Watch
from herdbook.transport.caller import Caller
from herdbook.transport.connection import Connection
from herdbook.transport.watcher import follow
from tests.support.postgres import execute, fresh_database, running_postgres
from tests.support.proxy import Proxy
from tests.support.server import Engines, ServerProcess
from tests.support.waiting import wait_until

MODELS = ("barn/cow", "barn/goat")
ALIASES = ("champion", "challenger")
REFERENCES = tuple(f"{model}@{alias}" for model in MODELS for alias in ALIASES)
VERSIONS = 5
CONVERGED_WITHIN_SECONDS = 90.0
"""A connection that is frozen is given up after a minute of silence at most."""

RETRY_SECONDS = 0.2
FREEZE_SHARE = 0.05
KILL_SHARE = 0.1
CUT_SHARE = 0.3


class DeafServer(ServerProcess):
    """A server that hears no NOTIFY."""

    module = "tests.faults.deaf_server"


@dataclass(slots=True)
class Seen:
    """What happened."""

    rounds: int = 0
    states: int = 0
    """How many states watchers were told."""
    kills: int = 0
    cuts: int = 0
    freezes: int = 0
    faults: list[str] = field(default_factory=list)


class Watcher:
    """Follows some references, for ever, and notes what it is told."""

    def __init__(self, address: str, *, references: Sequence[str], prefixes: Sequence[str]) -> None:
        self.latest: dict[str, int | None] = {}
        self.told = 0
        self.faults: list[str] = []
        self.breaks: list[tuple[float, Disconnected]] = []
        """When its connection broke, and how."""
        self._revisions: dict[str, int] = {}
        self._caller = Caller(Connection.configured(address))
        self._watch = Watch.of(references, prefixes=prefixes)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._caller.close()
        self._thread.join()

    def _run(self) -> None:
        while not self._caller.closed:
            # A server that is not there yet refuses the first connection for good.
            with contextlib.suppress(HerdbookError):
                self._follow()
            self._caller.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        for update in follow(self._caller, self._watch):
            if isinstance(update, ReferenceState):
                self._note(update)
            elif isinstance(update, Disconnected):
                self.breaks.append((time.monotonic(), update))

    def _note(self, state: ReferenceState) -> None:
        self.told += 1
        before = self._revisions.get(state.reference, 0)
        if state.revision <= before:
            self.faults.append(f"{state.reference}: revision {state.revision} after {before}")
        self._revisions[state.reference] = state.revision
        self.latest[state.reference] = state.resolution.version if state.resolution else None


class Chance:
    """One run over two servers, each with a proxy before it."""

    def __init__(
        self,
        dsn: str,
        servers: Sequence[ServerProcess],
        proxies: Sequence[Proxy],
        *,
        seed: int,
        freeze_share: float,
    ) -> None:
        self._dsn = dsn
        self._freeze_share = freeze_share
        self._servers = servers
        self._proxies = proxies
        self._random = Random(seed)
        self._watchers = [
            Watcher(address, references=references, prefixes=prefixes)
            for address in (*(s.address for s in servers), *(p.address for p in proxies))
            for references, prefixes in ((REFERENCES[:1], ()), (REFERENCES, ()), ((), ("barn/",)))
        ]
        self.seen = Seen()

    def run(self, rounds: int) -> Seen:
        """Run so many rounds; after each, wait until every watcher has what the database holds."""
        try:
            for _ in range(rounds):
                self._round()
                self._check()
                self.seen.rounds += 1
        finally:
            for watcher in self._watchers:
                watcher.close()
        self.seen.states = sum(watcher.told for watcher in self._watchers)
        self.seen.faults += [fault for watcher in self._watchers for fault in watcher.faults]
        return self.seen

    def _round(self) -> None:
        works = [self._move] * self._random.randint(1, 6) + [self._delete]
        for work, share in (
            (self._freeze, self._freeze_share),
            (self._kill, KILL_SHARE),
            (self._cut, CUT_SHARE),
            (self._cut_database, CUT_SHARE),
        ):
            if self._random.random() < share:
                works.append(work)
        self._random.shuffle(works)
        for work in works:
            work()

    def _writer(self) -> Client:
        return Client(self._random.choice(self._servers).address, cache=False)

    def _move(self) -> None:
        with self._writer() as client:
            client.set_alias(
                self._random.choice(MODELS),
                self._random.choice(ALIASES),
                self._random.randint(1, VERSIONS),
            )

    def _delete(self) -> None:
        with self._writer() as client, contextlib.suppress(AliasNotFound):
            client.delete_alias(self._random.choice(MODELS), self._random.choice(ALIASES))

    def _kill(self) -> None:
        server = self._random.choice(self._servers)
        server.kill()
        server.start()
        self.seen.kills += 1

    def _cut(self) -> None:
        self._random.choice(self._proxies).cut()
        self.seen.cuts += 1

    def _freeze(self) -> None:
        self._random.choice(self._proxies).freeze()
        self.seen.freezes += 1

    def _cut_database(self) -> None:
        execute(
            self._dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        self.seen.cuts += 1

    def _check(self) -> None:
        with self._writer() as client:
            present = {reference: self._version(client, reference) for reference in REFERENCES}
        for index, watcher in enumerate(self._watchers):
            try:
                wait_until(
                    lambda who=watcher: agrees(who.latest, present),  # type: ignore[misc]
                    "the watcher has what the database holds",
                    deadline_seconds=CONVERGED_WITHIN_SECONDS,
                )
            except TimeoutError:
                fault = (
                    f"round {self.seen.rounds}, watcher {index}: {watcher.latest}, {present};"
                    f" so far {self.seen.freezes} freezes; {watcher.breaks[-5:]}"
                )
                self.seen.faults.append(fault)

    def _version(self, client: Client, reference: str) -> int | None:
        try:
            return client.resolve(reference).version
        except AliasNotFound:
            return None


def agrees(latest: dict[str, int | None], present: dict[str, int | None]) -> bool:
    """Whether a watcher's last states are what the database holds, of what it has been told."""
    return bool(latest) and all(present[reference] == it for reference, it in latest.items())


@contextlib.contextmanager
def stage(home: Path, server_dsn: str) -> Iterator[tuple[str, list[ServerProcess], list[Proxy]]]:
    """Run two servers over one database, one of them deaf, and a proxy before each."""
    with ExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn))
        settings = {"data": str(home / "data"), "database": dsn}
        engines = Engines("postgres+local", settings, {})
        servers = [stack.enter_context(kind(engines, home)) for kind in (ServerProcess, DeafServer)]
        proxies = [stack.enter_context(Proxy(server.address)) for server in servers]
        with Client(servers[0].address, cache=False) as client:
            seed(client)
        yield dsn, servers, proxies


def seed(client: Client) -> None:
    """Make models with versions, and their aliases."""
    for model in MODELS:
        for number in range(1, VERSIONS + 1):
            client.register_reference(model, f"s3://elsewhere/{model}/{number}")
        for alias in ALIASES:
            client.set_alias(model, alias, 1)


def run(home: Path, server_dsn: str, *, rounds: int, seed: int, freeze_share: float) -> Seen:
    """Run so many rounds on a stage of their own."""
    with stage(home, server_dsn) as (dsn, servers, proxies):
        chance = Chance(dsn, servers, proxies, seed=seed, freeze_share=freeze_share)
        return chance.run(rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Tell what was seen; the process fails if a watcher saw what it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory, running_postgres() as server_dsn:
        seen = run(
            Path(directory),
            server_dsn,
            rounds=options.rounds,
            seed=options.seed,
            freeze_share=FREEZE_SHARE,
        )
    sys.stdout.write(
        f"{seen.rounds} rounds: {seen.kills} kills, {seen.cuts} cuts, {seen.freezes} freezes;"
        f" {seen.states} states told, {len(seen.faults)} faults\n"
    )
    sys.exit("\n".join(seen.faults) or 0)


if __name__ == "__main__":
    main()
