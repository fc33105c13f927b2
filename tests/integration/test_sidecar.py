"""The sidecar as operators run it, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from herdbook.cli.exits import ExitCode
from herdbook.client import Client
from tests.support.ports import free_port
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Barn:
    """A model of the test's own, and a directory to keep current."""

    client: Client
    server: ServerProcess
    home: Path
    model: str

    @property
    def reference(self) -> str:
        return f"{self.model}@champion"

    @property
    def root(self) -> Path:
        return self.home / "models"

    def push(self, text: str) -> int:
        directory = self.home / uuid.uuid4().hex
        directory.mkdir()
        (directory / "model.txt").write_text(text)
        return self.client.push(self.model, directory, alias="champion", capture=False).number

    def served(self) -> str:
        return (self.root / "current" / "model.txt").read_text()

    def command(self, *options: object) -> list[str]:
        where = ("--server", self.server.address, "--cache-dir", self.home / "cache")
        command = (sys.executable, "-m", "herdbook.cli", "sidecar", self.reference, self.root)
        return [str(each) for each in (*command, *where, *options)]

    def run(self, *options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options), check=False, capture_output=True, text=True, timeout=90
        )

    @contextmanager
    def running(self, *options: object) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(self.command(*options), stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def barn(server: ServerProcess, tmp_path: Path) -> Iterator[Barn]:
    with Client(server.address, cache=False) as client:
        yield Barn(client, server, tmp_path, f"sidecar/{uuid.uuid4().hex}")


def ready(port: int) -> Any:
    """Returns what the probe says; None if nobody answers, or nothing is served."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, ConnectionError):
        return None


def test_a_directory_is_kept_current_until_sigterm(barn: Barn) -> None:
    port = free_port()
    barn.push("one")
    with barn.running("--json", "--health", f"127.0.0.1:{port}") as process:
        wait_until(lambda: ready(port), "version 1 is served")
        assert barn.served() == "one"
        second = barn.push("two")
        wait_until(lambda: barn.served() == "two", "version 2 is found")
        wait_until(lambda: ready(port)["version"] == second, "version 2 is served")
        wait_until(
            lambda: barn.client.get_convergence(barn.reference).converged_count == 1,
            "the fleet knows",
        )
        assert process.stdout is not None
        told = map(json.loads, process.stdout)
        assert any(
            each["state"] == "serving" and each["serving"]["version"] == second for each in told
        )
        process.terminate()
        assert process.wait(60) == 0
    assert barn.served() == "two"


def test_once_it_ends_when_the_first_version_is_taken_up(barn: Barn) -> None:
    barn.push("one")
    told = barn.home / "told"
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['HERDBOOK_VERSION'])"
    ended = barn.run("--once", "--exec", f'{sys.executable} -c "{code}" {told}')
    assert (ended.returncode, told.read_text()) == (0, "1"), ended.stderr
    assert f":1 serves for {barn.reference}.\n" in ended.stderr
    assert ended.stdout == ""
    assert barn.served() == "one"


def test_once_it_fails_when_the_server_does_not_take_it_up(barn: Barn) -> None:
    barn.push("one")
    ended = barn.run("--once", "--exec", "false", "--hook-attempts", 1, "--timeout", "2s")
    assert ended.returncode == ExitCode.UNAVAILABLE
    assert "false ended with code 1" in ended.stderr


def test_once_it_fails_where_the_reference_names_nothing(barn: Barn) -> None:
    ended = barn.run("--once")
    assert ended.returncode == ExitCode.NOT_FOUND
    assert "names no version" in ended.stderr
    assert not (barn.root / "current").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--signal", "HUP"), "--signal and --pid-file go together"),
        (("--signal", "NOPE", "--pid-file", "x"), "no signal"),
        (("--exec", ""), "--exec is empty"),
        (("--call", "localhost:80"), "no URL"),
        (("--health", "8081"), "no address such as"),
    ],
)
def test_what_makes_no_sense_is_refused(barn: Barn, options: tuple[str, ...], said: str) -> None:
    ended = barn.run(*options)
    assert ended.returncode in (2, 7)
    assert said in " ".join(ended.stderr.split())
