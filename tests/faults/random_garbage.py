"""Garbage collection beside pushes, deletions and verifying, as chance has it.

`python -m tests.faults.random_garbage --rounds 1000` runs on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from herdbook_server import errors
from herdbook_server.artifacts.verifying import Verifier
from herdbook_server.registry.callers import Caller
from herdbook_server.storage.chunks.local import LocalChunkStore
from herdbook_server.storage.sql.postgres import PostgresDatabase
from herdbook_server.storage.sql.sqlite import SqliteDatabase
from tests.integration.test_garbage_collection import MODEL, Barn, Clock, sha256
from tests.support.postgres import fresh_database, running_postgres

CALLER = Caller("chance")
CHUNKS_IN_USE = 30
"""Few enough that versions share chunks, and that pushes and collections meet at them."""

NEW_CHUNKS = 3
"""So many of them are replaced in each round; by then they are about old enough to be garbage."""

PUSHES_AT_ONCE = 4
ABANDONED_SHARE = 0.7
ATTEMPTS = 20
GRACE_DAYS = 1.0
RETENTION_SECONDS = 5 * 24 * 60 * 60.0


@dataclass(slots=True)
class Seen:
    """What happened."""

    rounds: int = 0
    registered: int = 0
    purged: int = 0
    collected: int = 0
    pushed_again: int = 0
    """Pushes that found, at the end, that something had been collected."""
    versions: dict[int, frozenset[bytes]] = field(default_factory=dict)
    """The chunks of each version that is not purged."""


class Chance:
    """One run; what meets what is up to chance even with one seed."""

    def __init__(self, barns: Sequence[Barn], *, seed: int) -> None:
        self._barns = barns
        self._random = Random(seed)
        self._seen_until_revision = 0
        self._deleted_at_us: dict[int, int | None] = {}
        self.seen = Seen()

    async def run(self, rounds: int) -> Seen:
        """Run so many rounds, and check after each; then see that nothing is left over.

        Raises:
            AssertionError: A version lost a chunk, or garbage stayed.
        """
        for _ in range(rounds):
            await self._round()
            await self._forget_purged()
            await self._check_versions()
        self._clock.pass_days(2 * GRACE_DAYS)
        await self._collect()
        await self._forget_purged()
        await self._check_versions()
        listed = {digest for digests in self.seen.versions.values() for digest in digests}
        assert await self._barns[0].stored() == listed, "garbage stayed"
        return self.seen

    async def _round(self) -> None:
        # Between rounds alone: no collection takes hours by the clocks of others.
        self._clock.pass_days(self._random.uniform(0, 0.5 * GRACE_DAYS))
        works = [self._push() for _ in range(self._random.randint(1, PUSHES_AT_ONCE))]
        works += [self._collect() for _ in range(self._random.randint(0, 2))]
        works += [self._delete_or_restore()]
        if self._random.random() < 0.2:
            works.append(self._verify())
        self._random.shuffle(works)
        await asyncio.gather(*works)
        self.seen.rounds += 1

    @property
    def _clock(self) -> Clock:
        return self._barns[0].clock

    async def _push(self) -> None:
        """Push as a client does, from asking what is missing on; some pushes are abandoned.

        Half of them go past the server.
        """
        barn = self._random.choice(self._barns)
        first = self.seen.rounds * NEW_CHUNKS
        numbers = self._random.sample(
            range(first, first + CHUNKS_IN_USE), self._random.randint(1, 6)
        )
        chunks = [f"chunk {number}".encode() for number in numbers]
        upload = self._random.choice((barn.upload, barn.upload_directly))
        abandoned = self._random.random() < ABANDONED_SHARE
        for _ in range(ATTEMPTS):
            missing = await barn.uploads.find_missing(MODEL, [sha256(data) for data in chunks])
            await upload(*(data for data in chunks if sha256(data) in missing))
            if abandoned:
                return
            try:
                number = await barn.register(*chunks)
            except errors.ChunksMissing:
                self.seen.pushed_again += 1
                continue
            self.seen.versions[number] = frozenset(map(sha256, chunks))
            self.seen.registered += 1
            return
        raise AssertionError("a push never came to its end")

    async def _collect(self) -> None:
        barn = self._random.choice(self._barns)
        self.seen.collected += (await barn.collector.collect(apply=True)).chunk_count

    async def _delete_or_restore(self) -> None:
        if not self.seen.versions:
            return
        versions = self._random.choice(self._barns).versions
        reference = f"{MODEL}:{self._random.choice(list(self.seen.versions))}"
        change = self._random.choice((versions.delete, versions.restore))
        with suppress(errors.VersionPurged):
            changed = await change(CALLER, reference)
            self._deleted_at_us[changed.number] = changed.deleted_at_us

    async def _forget_purged(self) -> None:
        """Expect nothing more of versions that were deleted longer ago than they are kept."""
        page = await self._barns[0].events(
            kind="VERSION_PURGED", after_revision=self._seen_until_revision
        )
        for event in page.items:
            del self.seen.versions[event.version]
            deleted_at_us = self._deleted_at_us[event.version]
            assert deleted_at_us is not None, "a version was purged that is not deleted"
            assert event.time_us - deleted_at_us > RETENTION_SECONDS * 1_000_000, "too early"
            self.seen.purged += 1
        self._seen_until_revision = page.revision

    async def _verify(self) -> None:
        barn = self._random.choice(self._barns)
        page = await Verifier(database=barn.database, chunks=barn.chunks).verify(None, None)
        assert not page.lost, "verifying called a chunk lost that is not"

    async def _check_versions(self) -> None:
        stored = await self._barns[0].stored()
        for number, digests in self.seen.versions.items():
            assert digests <= stored, f"version {number} lost a chunk"


@asynccontextmanager
async def sqlite_barns(home: Path) -> AsyncIterator[Sequence[Barn]]:
    """Open one server's parts on SQLite: it has one server."""
    async with AsyncExitStack() as stack:
        database = await SqliteDatabase.open(home / "herdbook.sqlite3")
        stack.push_async_callback(database.close)
        await database.migrate()
        store = await _store(home, stack)
        yield [Barn(database, store, retention_seconds=RETENTION_SECONDS)]


@asynccontextmanager
async def postgres_barns(dsn: str, home: Path) -> AsyncIterator[Sequence[Barn]]:
    """Open two servers' parts on one PostgreSQL database."""
    async with AsyncExitStack() as stack:
        clock, barns = Clock(), []
        for _ in range(2):
            database = await PostgresDatabase.open(dsn)
            stack.push_async_callback(database.close)
            await database.migrate()
            store = await _store(home, stack)
            barns.append(Barn(database, store, clock, RETENTION_SECONDS))
        yield barns


async def _store(home: Path, stack: AsyncExitStack) -> LocalChunkStore:
    chunks = LocalChunkStore(home / "artifacts")
    await chunks.open()
    stack.push_async_callback(chunks.close)
    return chunks


async def run(rounds: int, *, seed: int) -> None:
    """Run on both engines, and tell what happened."""
    with tempfile.TemporaryDirectory() as home:
        async with sqlite_barns(Path(home)) as barns:
            tell("sqlite", await Chance(barns, seed=seed).run(rounds))
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        database = stack.enter_context(fresh_database(stack.enter_context(running_postgres())))
        async with postgres_barns(database, Path(home)) as barns:
            tell("postgresql, 2 servers", await Chance(barns, seed=seed).run(rounds))


def tell(engine: str, seen: Seen) -> None:
    """Write what happened."""
    sys.stdout.write(
        f"{engine}: {seen.rounds} rounds, {seen.registered} versions, {seen.purged} purged, "
        f"{seen.collected} chunks collected, {seen.pushed_again} pushes began again; "
        "no version lost a chunk, no garbage stayed\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as often as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args(arguments)
    asyncio.run(run(given.rounds, seed=given.seed))


if __name__ == "__main__":
    main()
