"""Rows of what replicas report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from herdbook_server.ports.values import Convergence, ReplicaReport, ReplicaState
from herdbook_server.storage.sql.connection import (
    Connection,
    Row,
    Value,
    padded,
    pages,
    pairs,
    places,
)

COLUMNS = """
    replica_id, host, name, reference, state, version, serving_version, serving_digest, failure,
    reported_at_us, model"""

INSERT = f"""
    INSERT INTO replicas ({COLUMNS}, expires_at_us)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (replica_id, reference)"""

PUT = f"""{INSERT} DO UPDATE SET
        host = excluded.host, name = excluded.name, state = excluded.state,
        version = excluded.version, serving_version = excluded.serving_version,
        serving_digest = excluded.serving_digest, failure = excluded.failure,
        reported_at_us = excluded.reported_at_us, model = excluded.model,
        expires_at_us = excluded.expires_at_us"""

ADD = f"{INSERT} DO NOTHING"

RENEW = """
    UPDATE replicas SET expires_at_us = $3
    WHERE replica_id = $1 AND reference = $2 AND expires_at_us < $3"""


LIVE = f"""
    SELECT {COLUMNS} FROM replicas
    WHERE replica_id >= $2 AND (replica_id > $2 OR reference > $3) AND expires_at_us > $1
    ORDER BY replica_id, reference LIMIT $4"""

LIVE_OF_REFERENCE = f"""
    SELECT {COLUMNS} FROM replicas
    WHERE reference = $5 AND replica_id >= $2 AND (replica_id > $2 OR reference > $3)
        AND expires_at_us > $1
    ORDER BY replica_id LIMIT $4"""

SERVING_VERSION = f"""
    SELECT {COLUMNS} FROM replicas
    WHERE model = $1 AND serving_version = $2 AND expires_at_us > $3
    ORDER BY replica_id, reference LIMIT 100"""

SERVING_MODEL = f"""
    SELECT {COLUMNS} FROM replicas
    WHERE model = $1 AND serving_version > 0 AND expires_at_us > $2
    ORDER BY replica_id, reference LIMIT 100"""

HAS_FAILED = f"""
    $3 > 0 AND state = '{ReplicaState.FAILED.value}' AND version = $3 AND serving_version <> $3"""

COUNTS = f"""
    SELECT serving_version, {HAS_FAILED}, count(*) FROM replicas
    WHERE reference = $1 AND expires_at_us > $2
    GROUP BY 1, 2"""

COUNTS_BY_STATE = """
    SELECT state, count(*) FROM replicas WHERE expires_at_us > $1 GROUP BY state"""

FAILURES = f"""
    SELECT {COLUMNS} FROM replicas
    WHERE reference = $1 AND expires_at_us > $2 AND {HAS_FAILED}
    ORDER BY replica_id LIMIT 100"""

EXPIRED = """
    SELECT replica_id, reference FROM replicas WHERE expires_at_us < $1
    ORDER BY replica_id, reference"""

FORGET = "DELETE FROM replicas WHERE replica_id = $1 AND reference = $2"

FORGET_EXPIRED = f"{FORGET} AND expires_at_us < $3"


class ReplicaRows:
    """Reports of replicas with their leases."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, reports: Iterable[ReplicaReport], *, expires_at_us: int) -> None:
        """See `ports.records.Replicas`."""
        await self._connection.execute_many(PUT, _rows(reports, expires_at_us))

    async def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """See `ports.records.Replicas`."""
        await self._connection.execute_many(FORGET, sorted(keys))

    async def add(self, reports: Iterable[ReplicaReport], *, expires_at_us: int) -> None:
        """See `ports.records.Replicas`."""
        await self._connection.execute_many(ADD, _rows(reports, expires_at_us))

    async def renew(
        self, keys: Sequence[tuple[str, str]], *, expires_at_us: int
    ) -> Sequence[tuple[str, str]]:
        """See `ports.records.Replicas`. A lease never gets shorter."""
        known: set[tuple[str, str]] = set()
        for page in pages(sorted(set(keys))):
            await self._connection.execute_many(RENEW, [(*key, expires_at_us) for key in page])
            known |= await self._known(page)
        return [key for key in dict.fromkeys(keys) if key not in known]

    async def renew_below(self, keys: Sequence[tuple[str, str]], *, expires_at_us: int) -> set[str]:
        """See `ports.records.Replicas`. A lease never gets shorter."""
        prefixes: dict[str, tuple[str, ...]] = {}
        for replica_id, prefix in keys:
            prefixes[replica_id] = (*prefixes.get(replica_id, ()), prefix)
        references: set[str] = set()
        # Rows are touched in one order everywhere, lest transactions wait for each other.
        for page in pages(sorted(prefixes)):
            below = [
                (replica_id, reference, expires_at_us)
                for replica_id, reference, model in await self._of_replicas(page)
                if model.startswith(prefixes[replica_id])
            ]
            await self._connection.execute_many(RENEW, sorted(below))
            references.update(reference for _, reference, _ in below)
        return references

    async def _of_replicas(self, replica_ids: Sequence[str]) -> Sequence[Row]:
        """Return the keys and models of all that some replicas said."""
        wanted = padded(replica_ids)
        return await self._connection.fetch(
            "SELECT replica_id, reference, model FROM replicas "
            f"WHERE replica_id IN ({places(len(wanted))})",
            *wanted,
        )

    async def _known(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        wanted = padded(keys)
        rows = await self._connection.fetch(
            "SELECT replica_id, reference FROM replicas "
            f"WHERE (replica_id, reference) IN (VALUES {pairs(len(wanted))})",
            *(part for key in wanted for part in key),
        )
        return {(row[0], row[1]) for row in rows}

    async def live(
        self,
        *,
        now_us: int,
        reference: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int,
    ) -> Sequence[ReplicaReport]:
        """See `ports.records.Replicas`."""
        values: tuple[Value, ...] = (now_us, *(after or ("", "")), limit)
        if reference is None:
            rows = await self._connection.fetch(LIVE, *values)
        else:
            rows = await self._connection.fetch(LIVE_OF_REFERENCE, *values, reference)
        return [to_report(row) for row in rows]

    async def convergence(self, reference: str, target: int, *, now_us: int) -> Convergence:
        """See `ports.records.Replicas`. Lists 100 failures at most."""
        rows = await self._connection.fetch(COUNTS, reference, now_us, target)
        failures = await self._connection.fetch(FAILURES, reference, now_us, target)
        serving: Counter[int] = Counter()
        failed = 0
        for version, has_failed, count in rows:
            serving[version] += count
            failed += count if has_failed else 0
        return Convergence(
            target_version=target,
            replica_count=serving.total(),
            converged_count=serving[target] if target else 0,
            failed_count=failed,
            failures=tuple(map(to_report, failures)),
            serving_counts=dict(serving),
        )

    async def count_by_state(self, *, now_us: int) -> Mapping[str, int]:
        """See `ports.records.Replicas`."""
        return {row[0]: row[1] for row in await self._connection.fetch(COUNTS_BY_STATE, now_us)}

    async def serving(
        self, model: str, number: int | None, *, now_us: int
    ) -> Sequence[ReplicaReport]:
        """See `ports.records.Replicas`."""
        if number is None:
            rows = await self._connection.fetch(SERVING_MODEL, model, now_us)
        else:
            rows = await self._connection.fetch(SERVING_VERSION, model, number, now_us)
        return [to_report(row) for row in rows]

    async def forget_before(self, time_us: int) -> int:
        """See `ports.records.Replicas`."""
        expired = await self._connection.fetch(EXPIRED, time_us)
        await self._connection.execute_many(FORGET_EXPIRED, [(*row, time_us) for row in expired])
        return len(expired)


def _rows(reports: Iterable[ReplicaReport], expires_at_us: int) -> list[tuple[Value, ...]]:
    """Return the parameters of rows, in the order that transactions touch them."""
    ordered = sorted(reports, key=lambda report: (report.replica_id, report.reference))
    return [(*to_row(report), expires_at_us) for report in ordered]


def to_row(report: ReplicaReport) -> tuple[Value, ...]:
    """Return the parameters of a report's row."""
    return (
        report.replica_id,
        report.host,
        report.name,
        report.reference,
        report.state.value,
        report.version,
        report.serving_version,
        report.serving_digest,
        report.failure,
        report.reported_at_us,
        report.model,
    )


def to_report(row: Row) -> ReplicaReport:
    """Return the report that a row holds."""
    replica_id, host, name, reference, state, *rest = row
    return ReplicaReport(replica_id, host, name, reference, ReplicaState(state), *rest)
