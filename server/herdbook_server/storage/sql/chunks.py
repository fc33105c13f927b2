"""The chunk index.

Safe under concurrent transactions that see each other's commits (PostgreSQL at READ COMMITTED):

- Rows are locked in the order of their digests, first chunks, then who knows them, so that no two
  transactions wait for each other in a circle.
- A transaction that is about to list chunks shares a gate that condemning takes. What it found
  stored therefore stays so until it commits, and condemning sees what it listed.
- Elsewhere a state is read after the row was written, hence locked, or is checked again by what
  relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from herdbook_server.ports.values import ChunkRef
from herdbook_server.storage.sql.connection import Connection, Row, padded, pages, places

GATE: Final = 1
"""Keeps condemning apart from transactions that list chunks."""

TOUCH_INTERVAL_US: Final = 3_600_000_000
"""A touch is not recorded if the last one that was is more recent than this: it spares writes.

What was last touched at some time may therefore look as if it was up to an hour earlier.
"""

DELETION_LEASE_US: Final = 300_000_000
"""How long a condemned chunk belongs to the collection that condemned it.

`touched_at_us` of such a chunk is when that was. Afterwards the collection counts as dead, and who
uploads the chunk, or collects garbage next, takes it over.
"""

KNOWN = """
    SELECT c.digest, c.size_bytes, c.touched_at_us
    FROM model_chunks m JOIN chunks c ON c.digest = m.digest
    WHERE m.model = $1 AND c.state = 'stored' AND m.digest IN ({places})"""

STATES = "SELECT digest, state, touched_at_us FROM chunks WHERE digest IN ({places})"

TOUCH = """
    UPDATE chunks SET touched_at_us = $2
    WHERE digest = $1 AND state = 'stored' AND touched_at_us < $2"""

RESERVE = """
    INSERT INTO chunks (digest, size_bytes, touched_at_us, state) VALUES ($1, $2, $3, 'writing')
    ON CONFLICT (digest) DO UPDATE SET touched_at_us = excluded.touched_at_us,
        state = CASE chunks.state WHEN 'deleting' THEN 'writing' ELSE chunks.state END
    WHERE (chunks.state <> 'deleting' AND chunks.touched_at_us < excluded.touched_at_us)
        OR (chunks.state = 'deleting' AND chunks.touched_at_us < $4)"""

COMMIT = """
    UPDATE chunks SET state = 'stored', touched_at_us = $2
    WHERE digest = $1
        AND (state = 'writing' OR (state = 'stored' AND touched_at_us < $3))"""

IS_LISTED = "EXISTS (SELECT 1 FROM manifest_chunks l WHERE l.chunk_digest = c.digest)"

REGAIN = f"""
    UPDATE chunks AS c SET state = 'stored'
    WHERE c.digest = $1 AND c.state = 'writing' AND {IS_LISTED}"""

IS_EXPECTED = f"(c.state = 'stored' OR (c.state = 'writing' AND {IS_LISTED}))"

LOSE = f"""
    UPDATE chunks AS c SET state = 'writing' WHERE c.digest = $1 AND {IS_EXPECTED}
    RETURNING digest"""

EXPECTED = f"""
    SELECT c.digest, c.size_bytes FROM chunks c WHERE c.digest > $1 AND {IS_EXPECTED}
    ORDER BY c.digest LIMIT $2"""

EXPECTED_TOTAL = f"""
    SELECT count(*), COALESCE(sum(c.size_bytes), 0) FROM chunks c WHERE {IS_EXPECTED}"""

MAKE_KNOWN = """
    INSERT INTO model_chunks (model, digest)
    SELECT $1, digest FROM chunks WHERE digest = $2 AND state = 'stored'
    ON CONFLICT (digest, model) DO NOTHING"""

IS_GARBAGE = f"""
    ((c.state <> 'deleting' AND c.touched_at_us < $1)
        OR (c.state = 'deleting' AND c.touched_at_us < $2))
    AND NOT {IS_LISTED}"""

GARBAGE = f"""
    SELECT c.digest, c.size_bytes FROM chunks c WHERE {IS_GARBAGE}
    ORDER BY c.touched_at_us LIMIT $3"""

GARBAGE_TOTAL = f"""
    SELECT count(*), COALESCE(sum(c.size_bytes), 0) FROM chunks c WHERE {IS_GARBAGE}"""

LOCK = "UPDATE chunks SET state = state WHERE digest = $1"

CONDEMN = f"""
    UPDATE chunks AS c SET state = 'deleting', touched_at_us = $3
    WHERE {IS_GARBAGE} AND c.digest IN ({{places}})
    RETURNING digest, size_bytes"""

MAKE_UNKNOWN = "DELETE FROM model_chunks WHERE digest = $1"

FORGET = """
    DELETE FROM chunks WHERE digest = $1 AND state = 'deleting' AND touched_at_us = $2"""

SPARE = """
    UPDATE chunks SET state = 'writing', touched_at_us = $3
    WHERE digest = $1 AND state = 'deleting' AND touched_at_us = $2"""


class ChunkRows:
    """Which chunks are stored, and which model may know of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def missing(
        self, model: str, digests: Sequence[bytes], *, time_us: int
    ) -> Sequence[bytes]:
        """See `ports.records.Chunks`."""
        stored: set[bytes] = set()
        for page in pages(sorted(set(digests))):
            known = await self._known(model, page)
            if await self._touch(known, time_us):
                known = await self._known(model, page)
            stored.update(row[0] for row in known)
        return [digest for digest in dict.fromkeys(digests) if digest not in stored]

    async def reserve(self, chunks: Sequence[ChunkRef], *, time_us: int) -> Mapping[bytes, bool]:
        """See `ports.records.Chunks`."""
        stored: dict[bytes, bool] = {}
        sizes = {chunk.digest: chunk.size_bytes for chunk in chunks}
        for page in pages(sorted(sizes)):
            fresh = {row[0] for row in await self._in(STATES, page) if is_fresh(row, time_us)}
            dead_us = time_us - DELETION_LEASE_US
            rows = [(one, sizes[one], time_us, dead_us) for one in page if one not in fresh]
            await self._connection.execute_many(RESERVE, rows)
            states = await self._in(STATES, page)
            stored |= {row[0]: row[1] == "stored" for row in states if row[1] != "deleting"}
        return stored

    async def commit(self, model: str, digests: Sequence[bytes], *, time_us: int) -> None:
        """See `ports.records.Chunks`.

        A chunk that was condemned since it was reserved stays unknown: whoever registers is told
        that it is missing.
        """
        ordered = sorted(set(digests))
        stale_us = time_us - TOUCH_INTERVAL_US
        await self._connection.execute_many(
            COMMIT, [(digest, time_us, stale_us) for digest in ordered]
        )
        await self._connection.execute_many(MAKE_KNOWN, [(model, digest) for digest in ordered])

    async def lose(self, digests: Sequence[bytes]) -> Sequence[bytes]:
        """See `ports.records.Chunks`."""
        ordered = sorted(set(digests))
        return [each for each in ordered if await self._connection.fetch_one(LOSE, each)]

    async def regain(self, digests: Sequence[bytes]) -> None:
        """See `ports.records.Chunks`."""
        rows = [(digest,) for digest in sorted(set(digests))]
        await self._connection.execute_many(REGAIN, rows)

    async def expected(self, *, after: bytes, limit: int) -> Sequence[ChunkRef]:
        """See `ports.records.Chunks`."""
        rows = await self._connection.fetch(EXPECTED, after, limit)
        return [ChunkRef(bytes(row[0]), row[1]) for row in rows]

    async def expected_total(self) -> tuple[int, int]:
        """See `ports.records.Chunks`."""
        ((count, size_bytes),) = await self._connection.fetch(EXPECTED_TOTAL)
        return int(count), int(size_bytes)

    async def absent(
        self, model: str, chunks: Sequence[ChunkRef], *, time_us: int
    ) -> Sequence[bytes]:
        """See `ports.records.Chunks`."""
        await self._connection.share(GATE)
        sizes: dict[bytes, int] = {}
        for page in pages(sorted({chunk.digest for chunk in chunks})):
            known = await self._known(model, page)
            await self._touch(known, time_us)
            sizes.update((row[0], row[1]) for row in known)
        absent = (chunk.digest for chunk in chunks if sizes.get(chunk.digest) != chunk.size_bytes)
        return list(dict.fromkeys(absent))

    async def garbage(self, before_us: int, *, time_us: int, limit: int) -> Sequence[ChunkRef]:
        """See `ports.records.Chunks`. Reads the whole index: ask for many at a time."""
        rows = await self._connection.fetch(GARBAGE, before_us, time_us - DELETION_LEASE_US, limit)
        return [ChunkRef(bytes(row[0]), row[1]) for row in rows]

    async def garbage_total(self, before_us: int, *, time_us: int) -> tuple[int, int]:
        """See `ports.records.Chunks`."""
        row = await self._connection.fetch_one(
            GARBAGE_TOTAL, before_us, time_us - DELETION_LEASE_US
        )
        return (int(row[0]), int(row[1])) if row else (0, 0)

    async def condemn(
        self, digests: Sequence[bytes], *, before_us: int, time_us: int
    ) -> Sequence[ChunkRef]:
        """See `ports.records.Chunks`."""
        await self._connection.take(GATE)
        ordered = sorted(set(digests))
        await self._connection.execute_many(LOCK, [(digest,) for digest in ordered])
        condemned: list[ChunkRef] = []
        for page in pages(ordered):
            dead_us = time_us - DELETION_LEASE_US
            rows = await self._in(CONDEMN, page, before_us, dead_us, time_us)
            condemned += [ChunkRef(bytes(row[0]), row[1]) for row in rows]
        condemned.sort(key=lambda chunk: chunk.digest)
        await self._connection.execute_many(MAKE_UNKNOWN, [(chunk.digest,) for chunk in condemned])
        return condemned

    async def forget(self, digests: Sequence[bytes], *, condemned_at_us: int) -> None:
        """See `ports.records.Chunks`."""
        rows = [(digest, condemned_at_us) for digest in sorted(set(digests))]
        await self._connection.execute_many(FORGET, rows)

    async def spare(
        self, digests: Sequence[bytes], *, condemned_at_us: int, before_us: int
    ) -> None:
        """See `ports.records.Chunks`."""
        rows = [(digest, condemned_at_us, before_us - 1) for digest in sorted(set(digests))]
        await self._connection.execute_many(SPARE, rows)

    async def _known(self, model: str, digests: Sequence[bytes]) -> Sequence[Row]:
        return await self._in(KNOWN, digests, model)

    async def _touch(self, known: Sequence[Row], time_us: int) -> bool:
        """Touch those that were not touched lately; return whether there were any."""
        stale = sorted(row[0] for row in known if row[2] < time_us - TOUCH_INTERVAL_US)
        await self._connection.execute_many(TOUCH, [(digest, time_us) for digest in stale])
        return bool(stale)

    async def _in(self, sql: str, digests: Sequence[bytes], *values: str | int) -> Sequence[Row]:
        """Run a statement whose last parameters are a list of digests."""
        wanted = padded(digests)
        text = sql.format(places=places(len(wanted), first=len(values) + 1))
        return await self._connection.fetch(text, *values, *wanted)


def is_fresh(row: Row, time_us: int) -> bool:
    """Tell whether a row of digest, state and time of the last touch needs no touch."""
    interval_us = DELETION_LEASE_US if row[1] == "deleting" else TOUCH_INTERVAL_US
    return bool(row[2] >= time_us - interval_us)
