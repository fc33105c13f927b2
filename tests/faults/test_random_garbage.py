"""A part of what `tests.faults.random_garbage` runs at length."""

from __future__ import annotations

from pathlib import Path

from tests.faults.random_garbage import Chance, postgres_barns, sqlite_barns

ROUNDS = 40


async def test_on_sqlite_no_version_loses_a_chunk_and_no_garbage_stays(tmp_path: Path) -> None:
    async with sqlite_barns(tmp_path) as barns:
        seen = await Chance(barns, seed=1).run(ROUNDS)
    assert seen.registered
    assert seen.collected


async def test_by_two_servers_no_version_loses_a_chunk_and_no_garbage_stays(
    tmp_path: Path, postgres_database: str
) -> None:
    async with postgres_barns(postgres_database, tmp_path) as barns:
        seen = await Chance(barns, seed=1).run(ROUNDS)
    assert seen.registered
    assert seen.collected
