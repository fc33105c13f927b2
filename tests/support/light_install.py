"""The wheel, installed without extras into an environment that has nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SIZES = """
import importlib.metadata, json
print(json.dumps({
    each.metadata["Name"]: [each.version, sum(f.locate().stat().st_size for f in each.files or ())]
    for each in importlib.metadata.distributions()
}))
"""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution."""

    version: str
    size_bytes: int
    """What all its files take, compiled ones included."""


@dataclass(frozen=True, slots=True)
class LightInstall:
    """An environment that the client alone was installed into."""

    wheel: Path
    python: Path

    @classmethod
    def make(cls, home: Path) -> LightInstall:
        """Build the wheel from this source tree and install it, with pinned dependencies."""
        wheel = build_wheel(home / "dist")
        environment = home / "environment"
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        python = environment / "bin" / "python"
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
        run(*pip, "install", "--quiet", "-c", ROOT / "requirements.lock", wheel)
        return cls(wheel, python)

    def run(self, *arguments: str) -> str:
        """Run the environment's interpreter away from the source tree; return what it prints."""
        return run(self.python, "-I", "-W", "error", *arguments, cwd=self.wheel.parent)

    def distributions(self) -> Mapping[str, Distribution]:
        """Return all that is installed, by normalised name."""
        found = json.loads(self.run("-c", SIZES))
        return {normalised(name): Distribution(*figures) for name, figures in found.items()}


def normalised(name: str) -> str:
    """Return the one form of a distribution's name that all its spellings share."""
    return re.sub(r"[-_.]+", "-", name).lower()


def build_wheel(directory: Path) -> Path:
    """Build the wheel of this source tree into a new directory."""
    run(sys.executable, "-m", "build", "--wheel", "--outdir", directory, ROOT)
    [wheel] = directory.glob("*.whl")
    return wheel


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command to its end and return what it prints.

    Raises:
        RuntimeError: it fails; the message has all that it printed.
    """
    ended = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{command} failed:\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout
