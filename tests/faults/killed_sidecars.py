"""Sidecars that are killed at random moments while the alias they follow moves.

`python -m tests.faults.killed_sidecars --kills 200` shows it with each layout. Somebody looks into
the directory all the time: what the links lead to must be one version, whole, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from herdbook import Client
from herdbook.sidecar import Layout
from tests.support.processes import in_background
from tests.support.repeating import again_and_again
from tests.support.server import Engines, ServerProcess
from tests.support.waiting import wait_until

MODEL = "fraud/tc"
REFERENCE = f"{MODEL}@champion"
VERSIONS = 6
FILES = 8
FAILS_NOW_AND_THEN = "test $(($(date +%N | sed s/^0*//) % 3)) != 0"
LONGEST_LIFE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 0.15


@dataclass(slots=True)
class Seen:
    """What somebody saw who looked into the directory again and again."""

    kills: int = 0
    looks: int = 0
    versions: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    """Looks at which a link led nowhere, or to something that is no whole version."""
    converged: bool = False
    """Whether a sidecar that is left alone ends at the version that the alias names."""


def kill_again_and_again(
    server: ServerProcess, home: Path, layout: Layout, *, kills: int, seed: int
) -> Seen:
    """Start a sidecar and kill it, by SIGKILL, again and again; leave the last one alone."""
    root, seen, random = home / layout.value, Seen(), Random(seed)
    with Client(server.address, cache=False) as client:
        with sidecar(server, home, root, layout):
            wait_until(lambda: link(root, layout), "the first version is there")
        looking = again_and_again(lambda: look(root, layout, seen))
        with again_and_again(lambda: move(client, random)), looking:
            for _ in range(kills):
                with sidecar(server, home, root, layout) as process:
                    time.sleep(random.uniform(0, LONGEST_LIFE_SECONDS))
                    process.kill()
                seen.kills += 1
        client.set_alias(MODEL, "champion", VERSIONS)
        looking = again_and_again(lambda: look(root, layout, seen))
        with sidecar(server, home, root, layout), looking:
            wait_until(lambda: version_at(root, layout) == VERSIONS, "the last version is there")
            seen.converged = True
    return seen


def push_versions(server: ServerProcess, home: Path) -> None:
    """Push versions that tell by each file which they are."""
    with Client(server.address, cache=False) as client:
        for version in range(1, VERSIONS + 1):
            directory = home / f"pushed {version}"
            directory.mkdir()
            for name, data in files_of(version).items():
                (directory / name).write_bytes(data)
            client.push(MODEL, directory, alias="champion", capture=False)


def files_of(version: int) -> Mapping[str, bytes]:
    """Return what a version holds."""
    return {f"part {n}": Random(100 * version + n).randbytes(50_000) for n in range(FILES)}


def sidecar(
    server: ServerProcess, home: Path, root: Path, layout: Layout
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a sidecar until the block ends."""
    command = [sys.executable, "-m", "herdbook.cli", "sidecar", REFERENCE, str(root)]
    command += ["--layout", layout.value, "--server", server.address, "--hook-attempts", "2"]
    command += ["--exec", f"sh -c '{FAILS_NOW_AND_THEN}'"]
    environment = {**os.environ, "HERDBOOK_CACHE_DIR": str(home / "cache")}
    return in_background(command, log=home / "sidecar.log", env=environment)


def move(client: Client, random: Random) -> None:
    """Move the alias somewhere."""
    client.set_alias(MODEL, "champion", random.randint(1, VERSIONS))
    time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))


def look(root: Path, layout: Layout, seen: Seen) -> None:
    """Read what a link leads to, as a server that loads it would."""
    found = link(root, layout)
    target = None if found is None else target_of(found)
    version = None if found is None else whole_version(found / files_below(found, layout))
    still_there = found is not None and target is not None and target_of(found) == target
    if version is not None:
        seen.versions.add(version)
    elif still_there or found is None:
        # Otherwise the link led elsewhere before all of it was read.
        seen.faults.append(f"{found} -> {target}")
    seen.looks += 1


def target_of(path: Path) -> Path | None:
    """Return where a link leads; None if it has gone meanwhile."""
    try:
        return path.readlink()
    except FileNotFoundError:
        return None


def link(root: Path, layout: Layout) -> Path | None:
    """Return the link that a server of this layout would follow."""
    match layout:
        case Layout.CURRENT:
            found = root / "current"
        case Layout.TF_SERVING:
            return newest_link(root)
        case Layout.TRITON:
            found = root / "repository" / "tc"
    return found if found.is_symlink() else None


def newest_link(root: Path) -> Path | None:
    """Return the link of the greatest number, from one listing.

    A link that was listed may be gone when it is looked at, and another one be there by then.
    """
    if not root.is_dir():
        return None
    with os.scandir(root) as entries:
        numbers = [int(each.name) for each in entries if each.name.isdigit() and each.is_symlink()]
    return root / str(max(numbers)) if numbers else None


def files_below(found: Path, layout: Layout) -> str:
    """Return where below the link the files are."""
    if layout is not Layout.TRITON:
        return "."
    return found.readlink().name.partition("-")[0]


def version_at(root: Path, layout: Layout) -> int | None:
    """Return which version is served."""
    found = link(root, layout)
    return None if found is None else whole_version(found / files_below(found, layout))


def whole_version(directory: Path) -> int | None:
    """Return which version a directory holds, byte for byte; None if none."""
    try:
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
    except OSError:
        return None
    return next((n for n in range(1, VERSIONS + 1) if files == files_of(n)), None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill sidecars of each layout; tell what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    for layout in Layout:
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory)
            engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
            with ServerProcess(engines, home) as server:
                push_versions(server, home)
                seen = kill_again_and_again(
                    server, home, layout, kills=options.kills, seed=options.seed
                )
        sys.stdout.write(
            f"{layout}: {seen.kills} kills, {seen.looks} looks, versions {sorted(seen.versions)},"
            f" not whole: {len(seen.faults)} {seen.faults[:3]}, converged: {seen.converged}\n"
        )


if __name__ == "__main__":
    main()
