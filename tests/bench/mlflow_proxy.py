"""MLflow's artifact proxy, installed from its current release into an environment of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import running

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".cache" / "mlflow"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A tracking server that keeps artifacts in a directory, and the Python that talks to it."""

    uri: str
    python: Path
    version: str

    def make_run(self) -> str:
        """Make a run, which artifacts belong to; return its id."""
        return self._ask("run").strip()

    def seconds(self, kind: str, run: str, directory: Path) -> float:
        """Push or pull by MLflow's own client, from a disk that has nothing left to write."""
        os.sync()
        return float(json.loads(self._ask(kind, run, str(directory)))["seconds"])

    def _ask(self, kind: str, *arguments: str) -> str:
        command = [str(self.python), "-m", "tests.bench.mlflow_transferring", kind, self.uri]
        env = {**os.environ, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip().splitlines()[-1]


@contextlib.contextmanager
def running_proxy(home: Path) -> Iterator[Proxy]:
    """Run the server, with its defaults, until the block ends; installs it if need be."""
    python = installed_python()
    version = subprocess.check_output(
        [str(python), "-c", "from importlib.metadata import version; print(version('mlflow'))"],
        text=True,
    ).strip()
    uri = f"http://{LOOPBACK}:{free_port()}"
    host, _, port = uri.removeprefix("http://").partition(":")
    command = [
        *(str(python), "-m", "mlflow", "server", "--host", host, "--port", port),
        *("--backend-store-uri", f"sqlite:///{home}/mlflow.db"),
        *("--serve-artifacts", "--artifacts-destination", str(home / "artifacts")),
    ]
    env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    log = home / "mlflow.log"
    with running(command, ready=lambda: answers(f"{uri}/health"), log=log, env=env):
        yield Proxy(uri, python, version)


def installed_python() -> Path:
    """Return the environment's Python; make the environment, with the newest MLflow, if need be."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        quiet = ("--quiet", "--disable-pip-version-check")
        subprocess.run([str(python), "-m", "pip", "install", *quiet, "mlflow"], check=True)
        (ENVIRONMENT / "complete").touch()
    return python


def answers(url: str) -> bool:
    """Tell whether a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
