"""Retention: what was deleted long ago loses its files for good; its record stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.values import EventKind
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.versions import delete_version, save_version
from herdbook_server.registry.writing import Write, writing

RETENTION_SECONDS: Final = 30 * 24 * 60 * 60.0
"""How long what is deleted can be restored."""

PURGED_AT_ONCE: Final = 10
"""Versions that one write purges: others wait for it."""

FOUND_AT_ONCE: Final = 1000
"""Finding those whose models were deleted goes through all versions of these."""

_REASON: Final = "retention"
_MICROSECONDS: Final = 1_000_000


class Retention:
    """Purges versions that were deleted long ago, or whose model was.

    A purged version keeps its number, its digest and what is said of it, and cannot be restored.
    """

    def __init__(
        self, *, database: Database, clock: Clock, seconds: float = RETENTION_SECONDS
    ) -> None:
        """Keep what is deleted for so long; for ever, if `seconds` is 0."""
        self._database = database
        self._clock = clock
        self._seconds = seconds

    async def count(self) -> int:
        """Count the versions that `purge` would purge."""
        if not self._seconds:
            return 0
        async with self._database.read() as records:
            return await records.versions.expired_count(self._before_us())

    async def purge(self, caller: Caller) -> int:
        """Purge what was deleted long enough ago; return how many versions."""
        purged = 0
        while expired := await self._expired():
            for start in range(0, len(expired), PURGED_AT_ONCE):
                purged += await self._purge(caller, expired[start : start + PURGED_AT_ONCE])
        return purged

    async def _expired(self) -> Sequence[tuple[str, int]]:
        if not self._seconds:
            return ()
        async with self._database.read() as records:
            return await records.versions.expired(self._before_us(), limit=FOUND_AT_ONCE)

    async def _purge(self, caller: Caller, expired: Sequence[tuple[str, int]]) -> int:
        before_us = self._before_us()
        async with writing(self._database, self._clock, caller=caller, reason=_REASON) as write:
            return sum([await _purge(write, *each, before_us=before_us) for each in expired])

    def _before_us(self) -> int:
        return max(0, self._clock.now_us() - int(self._seconds * _MICROSECONDS))


async def _purge(write: Write, name: str, number: int, *, before_us: int) -> bool:
    """Purge a version unless it, or its model, has been restored meanwhile."""
    model = await write.records.models.get(name)
    version = await write.records.versions.get(name, number)
    if model is None or version is None or version.purged_at_us is not None:
        return False
    deletions = (model.deleted_at_us, version.deleted_at_us)
    if not any(time_us is not None and time_us < before_us for time_us in deletions):
        return False
    if version.deleted_at_us is None:
        version = await delete_version(write, version)
    purged = replace(version, purged_at_us=write.time_us)
    await save_version(write, purged, kind=EventKind.VERSION_PURGED)
    return True
