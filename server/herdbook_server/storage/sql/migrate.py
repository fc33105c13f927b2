"""Brings the schema to the newest, by numbered files of SQL, each in its own transaction."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import resources
from typing import Final, Protocol

from herdbook_server.storage.sql.connection import Connection

CREATE: Final = """
    CREATE TABLE IF NOT EXISTS migrations (
        number BIGINT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL,
        applied_at_us BIGINT NOT NULL
    )"""

APPLIED: Final = "SELECT number, name, checksum FROM migrations ORDER BY number"

ADD: Final = """
    INSERT INTO migrations (number, name, checksum, applied_at_us) VALUES ($1, $2, $3, $4)"""


class SchemaRefused(Exception):
    """The schema is not the work of the migrations that this release knows."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the script in hex, which tells whether the step that was taken is this one."""
        return hashlib.sha256(self.script.encode()).hexdigest()


class ScriptConnection(Connection, Protocol):
    """A connection that also runs several statements at once."""

    async def run_script(self, script: str) -> None:
        """Run statements that are separated by semicolons."""


Exclusive = Callable[[], AbstractAsyncContextManager[ScriptConnection]]
"""Opens a transaction beside which no other migration runs, and which commits at its end."""


def load_migrations(engine: str) -> tuple[Migration, ...]:
    """Return the steps for an engine, in order."""
    folder = resources.files("herdbook_server.storage.sql").joinpath("migrations", engine)
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return tuple(
        Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in files
    )


async def migrate(exclusive: Exclusive, steps: Sequence[Migration]) -> int:
    """Take the steps that are missing; return how many there were.

    Raises:
        SchemaRefused: The database was made by other steps, or by a later release.
    """
    taken = 0
    while True:
        async with exclusive() as connection:
            step = await next_step(connection, steps)
            if step is None:
                return taken
            await connection.run_script(step.script)
            now_us = time.time_ns() // 1000
            await connection.execute(ADD, step.number, step.name, step.checksum, now_us)
        taken += 1


async def next_step(connection: Connection, steps: Sequence[Migration]) -> Migration | None:
    """Return the first step that was not taken.

    Raises:
        SchemaRefused: The steps that were taken are not the first of these.
    """
    await connection.execute(CREATE)
    applied = await connection.fetch(APPLIED)
    for row, step in zip(applied, steps, strict=False):
        if (row[0], row[2]) != (step.number, step.checksum):
            raise SchemaRefused(f"Migration {row[1]} differs from that of this release.")
    if len(applied) > len(steps):
        raise SchemaRefused(
            f"The schema was made by a later release: migration {applied[-1][1]} is unknown here."
        )
    return steps[len(applied)] if len(applied) < len(steps) else None
