"""The database engines that benchmarks run on, as durable as in earnest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tests.support.postgres import (
    SETTINGS,
    PostgresCluster,
    fresh_database,
    private_directory,
    server_user,
)
from tests.support.processes import running

DURABLE = {**SETTINGS, "fsync": "on", "full_page_writes": "on"}


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Run a PostgreSQL that waits for the disk, or use the one that the tests are told of."""
    given = os.environ.get("HERDBOOK_TEST_POSTGRES")
    if given:
        yield given
        return
    with private_directory() as home:
        cluster = PostgresCluster.create(home)
        settings = {**DURABLE, "port": str(cluster.port)}
        command = [cluster.binaries / "postgres", "-D", cluster.data]
        command += [f"--{name}={value}" for name, value in settings.items()]
        log = home / "server.log"
        with running(command, ready=cluster.is_ready, log=log, user=server_user()):
            yield cluster.dsn


@contextlib.contextmanager
def empty_database(engine: str) -> Iterator[str]:
    """Give what a server's `--database` takes for a database of its own on the engine."""
    if engine == "sqlite":
        yield "sqlite"
        return
    with postgres_server() as server, fresh_database(server) as dsn:
        yield dsn
