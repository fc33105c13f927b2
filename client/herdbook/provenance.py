"""What a version's record says besides what its author tells: found out on the spot."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from typing import Final

from herdbook.core.values import (
    Capture,
    Code,
    Environment,
    Json,
    Lineage,
    Signature,
    Version,
)
from herdbook.transport.connection import current_actor

MAX_PACKAGES: Final = 4096
MAX_TEXT_CHARACTERS: Final = 256

_GIT_SECONDS = 5.0
_CREDENTIALS = re.compile(r"(?<=://)[^/]*@")


def described(
    model: str,
    *,
    metrics: Mapping[str, float] | None,
    params: Mapping[str, object] | None,
    tags: Mapping[str, str] | None,
    description: str,
    label: str | None,
    author: str | None,
    signature: Signature | None,
    input_example: Json,
    framework: str,
    format: str,
    lineage: Lineage | None,
    environment: Environment | None,
    capture: Capture,
) -> Version:
    """Puts together the record of a version that is to be registered.

    What is told goes before what is found out; the author is told by `author`, or left to the
    server, which knows who calls.
    """
    return Version(
        model=model,
        number=0,
        metrics=dict(metrics or {}),
        params={name: str(value) for name, value in (params or {}).items()},
        tags=dict(tags or {}),
        description=description,
        label=label,
        author=author or (current_actor() if capture.author else ""),
        signature=signature,
        input_example=input_example,
        framework=framework,
        format=format,
        lineage=_with_code(lineage) if capture.code else lineage,
        environment=environment or (find_environment() if capture.environment else None),
    )


def _with_code(lineage: Lineage | None) -> Lineage | None:
    if lineage is not None and lineage.code is not None:
        return lineage
    code = find_code()
    return lineage if code is None else replace(lineage or Lineage(), code=code)


def find_code() -> Code | None:
    """Returns the state of the git work tree that this process runs in; None if there is none.

    Credentials in the repository's address are left out.
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    repository = _git("config", "--get", "remote.origin.url") or _git(
        "rev-parse", "--show-toplevel"
    )
    return Code(
        repository=_CREDENTIALS.sub("", repository or ""),
        commit=commit,
        # Where git cannot say, as in time, nothing vouches that the commit is what ran.
        dirty=_git("status", "--porcelain", "--untracked-files=no") != "",
    )


def _git(*arguments: str) -> str | None:
    """Returns what git prints; None if it cannot say."""
    try:
        done = subprocess.run(  # noqa: S603  # the arguments are all of this file
            ["git", *arguments],  # noqa: S607  # the user's own git
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            timeout=_GIT_SECONDS,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def find_environment() -> Environment:
    """Returns Python, installed packages, platform and hardware of this process."""
    return Environment(
        python=platform.python_version(),
        packages=_packages(),
        platform=f"{platform.system()}-{platform.release()}-{platform.machine()}"[
            :MAX_TEXT_CHARACTERS
        ],
        hardware=_hardware()[:MAX_TEXT_CHARACTERS],
    )


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and len(found) < MAX_PACKAGES:
            found.setdefault(name, distribution.version or "")
    return dict(sorted(found.items()))


def _hardware() -> str:
    processor = _processor_name() or platform.processor() or platform.machine()
    return f"{os.cpu_count() or 1} x {processor}"


def _processor_name() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            names = (
                line.partition(":")[2].strip() for line in lines if line.startswith("model name")
            )
            return next(names, None)
    except OSError:
        return None
