"""Servers for tests: processes that can be killed and started again, and the engines under them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.support.ports import LOOPBACK, free_port
from tests.support.postgres import fresh_database
from tests.support.processes import stop
from tests.support.s3 import S3Endpoint, remove_bucket
from tests.support.waiting import wait_until

ENGINES = ("sqlite+local", "postgres+s3")
"""Database and chunk store of a server: the embedded default, and what many servers share."""


@dataclass(frozen=True, slots=True)
class Engines:
    """A database and a chunk store of a test's own, and how a server is told to use them."""

    name: str
    """Such as `sqlite+local`."""
    settings: Mapping[str, str]
    """As `herdbook_server.settings` names them."""
    environment: Mapping[str, str]
    """Variables that libraries under the server read."""


class ServerProcess:
    """`herdbook serve` on one port, again and again."""

    module = "herdbook_server"
    """What is run."""

    def __init__(self, engines: Engines, home: Path, **settings: str) -> None:
        self._settings = {**engines.settings, **settings}
        self._engines = engines
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"{LOOPBACK}:{free_port()}"
        name = f"server-{uuid.uuid4().hex}"
        self.log = home / f"{name}.log"
        self._ready = home / f"{name}.ready"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, which may have ended."""
        assert self._process is not None, "the server was not started"
        return self._process

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: It ended instead; the message has its log.
        """
        self._ready.unlink(missing_ok=True)
        self.launch()
        wait_until(
            lambda: self.announced_address or self.process.poll() is not None,
            f"{self.address} answers",
        )
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended: {self.read_log()}")

    @property
    def announced_address(self) -> str:
        """Where the server says that it listens; empty before it does."""
        return self._ready.read_text().strip() if self._ready.exists() else ""

    def launch(self) -> None:
        """Start the server and wait for nothing."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "serve"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
            )

    def kill(self) -> None:
        """End the server as a power failure would."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask the server to end, wait until it has, and return its exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def read_log(self) -> str:
        """What the server said so far, over all its lives."""
        return self.log.read_text(errors="replace")

    def environment(self) -> dict[str, str]:
        """What the process is told by its environment."""
        clean = {name: value for name, value in os.environ.items() if "HERDBOOK_" not in name}
        given = {
            "listen": self.address,
            "log_format": "json",
            "ready_file": str(self._ready),
            **self._settings,
        }
        ours = {f"HERDBOOK_{name.upper()}": value for name, value in given.items()}
        return {**clean, **self._engines.environment, **ours}


@contextlib.contextmanager
def fresh_engines(name: str, home: Path, request: pytest.FixtureRequest) -> Iterator[Engines]:
    """Make empty engines of a kind, gone when the block ends; starts the services they need."""
    database, _, artifacts = name.partition("+")
    settings = {"data": str(home / "data")}
    environment: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        if database == "postgres":
            dsn = request.getfixturevalue("postgres_dsn")
            settings["database"] = stack.enter_context(fresh_database(dsn))
        if artifacts == "s3":
            endpoint = request.getfixturevalue("s3_endpoint")
            bucket = stack.enter_context(_fresh_bucket(endpoint))
            settings["artifacts"] = f"s3://{bucket}/barn"
            environment = endpoint.environment()
        yield Engines(name, settings, environment)


@contextlib.contextmanager
def _fresh_bucket(endpoint: S3Endpoint) -> Iterator[str]:
    name = f"herdbook-test-{uuid.uuid4().hex}"
    endpoint.client().create_bucket(Bucket=name)
    try:
        yield name
    finally:
        remove_bucket(endpoint.client(), name)
