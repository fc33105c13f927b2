"""Candidates that fail in every way: what the caller, the fleet and the figures say of it.

`python -m tests.faults.failing_candidates` shows each. Somebody predicts all the time; the model
that serves must never stop.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from herdbook import Client, HerdbookError, LiveModel
from herdbook.cache import VersionSource
from herdbook.core.values import Resolution
from herdbook.live import LiveState, figures
from herdbook.live.face import LiveFace
from herdbook.live.figures import LiveFigures
from herdbook.live.registry import GrpcRegistry
from herdbook.transfer.cancellation import CancelToken
from herdbook.transport.connection import Connection
from tests.faults.full_disks import INSIDE, NAMESPACE, flip, mount
from tests.faults.killed_push import MIB, write_random
from tests.support.repeating import again_and_again
from tests.support.server import Engines, ServerProcess
from tests.support.waiting import wait_until

MODEL = "fraud/tc"
REFERENCE = f"{MODEL}@champion"
HANG_SECONDS = 1.0
PAUSE_SECONDS = 0.001
SMALL_CACHE_MIB = 8


class TextModel:
    """Answers with its version's text."""

    def __init__(self, path: Path) -> None:
        self.text = (path / "model.txt").read_text()
        if self.text == "raises":
            raise ValueError("no such layer")
        if self.text == "hangs":
            threading.Event().wait()

    def predict(self) -> str:
        """Answer, or fail if this model must not serve."""
        assert self.text == "sound"
        return self.text


def validate(model: TextModel) -> bool:
    """Turn down what says so."""
    return model.text != "is refused"


@dataclass(slots=True)
class Shown:
    """What is seen of a candidate that failed."""

    caller: str = ""
    """What the live model's status says."""
    fleet: str = ""
    """What the registry says of its replicas."""
    figures: str = ""
    predictions: int = 0
    failures: list[BaseException] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, its first version, and a live model that serves it."""

    server: ServerProcess
    client: Client
    home: Path

    def push(self, text: str, *, mib: int = 0) -> int:
        """Push a version; return its number."""
        directory = self.home / f"pushed {text}"
        directory.mkdir()
        (directory / "model.txt").write_text(text)
        if mib:
            write_random(directory / "weights", mib * MIB)
        return self.client.push(MODEL, directory, capture=False).number

    def move(self, version: int) -> None:
        """Move the alias."""
        self.client.set_alias(MODEL, "champion", version)


def raises(stage: Stage) -> None:
    """The loader raises."""
    stage.move(stage.push("raises"))


def hangs(stage: Stage) -> None:
    """The loader hangs."""
    stage.move(stage.push("hangs"))


def is_refused(stage: Stage) -> None:
    """Validation turns it down."""
    stage.move(stage.push("is refused"))


def is_corrupt(stage: Stage) -> None:
    """A chunk is damaged on the server."""
    chunks = stage.home / "data" / "artifacts" / "chunks"
    before = set(chunks.glob("*/*"))
    version = stage.push("corrupt")
    for path in set(chunks.glob("*/*")) - before:
        flip(path)
    stage.move(version)


def fills_the_disk(stage: Stage) -> None:
    """The cache's disk is full."""
    stage.move(stage.push("large", mib=2 * SMALL_CACHE_MIB))


def is_deleted(stage: Stage) -> None:
    """The version is deleted after it was resolved and before it is fetched."""
    stage.move(stage.push("deleted"))


def loses_its_alias(stage: Stage) -> None:
    """The alias is deleted."""
    stage.client.delete_alias(MODEL, "champion")


SCENES: dict[str, Callable[[Stage], None]] = {
    "the loader raises": raises,
    "the loader hangs": hangs,
    "validation refuses": is_refused,
    "a chunk is corrupt on the server": is_corrupt,
    "the version is deleted before it is fetched": is_deleted,
    "the alias is deleted": loses_its_alias,
}
DISK_SCENES: dict[str, Callable[[Stage], None]] = {"the cache's disk is full": fills_the_disk}


class Deleting(GrpcRegistry):
    """A registry whose versions are gone when they are fetched, but for the first."""

    def source(self, resolution: Resolution, cancel: CancelToken) -> VersionSource:
        """Delete the version, then return where it would come from."""
        if resolution.version > 1:
            with Client(self.server, cache=False) as client, contextlib.suppress(HerdbookError):
                client.delete_version(f"{MODEL}:{resolution.version}", force=True)
        return super().source(resolution, cancel)


def show(scene: Callable[[Stage], None], home: Path, cache: Path) -> Shown:
    """Let a candidate fail beside a model that serves."""
    shown = Shown()
    reader = InMemoryMetricReader()
    made = LiveFigures(MeterProvider([reader]).get_meter("test"))
    engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(figures, "_of_this_process", lambda: made))
        server = stack.enter_context(ServerProcess(engines, home))
        if scene is is_deleted:
            connection = Connection.configured(server.address)
            stack.enter_context(patch.object(LiveFace, "_registry", lambda _: Deleting(connection)))
        stage = Stage(server, stack.enter_context(Client(server.address, cache=False)), home)
        stage.move(stage.push("sound"))
        live = stack.enter_context(
            LiveModel(
                REFERENCE,
                loader=TextModel,
                validate=validate,
                server=server.address,
                cache_dir=cache,
                load_timeout_seconds=HANG_SECONDS,
                drain_timeout_seconds=0,
            )
        )
        with again_and_again(lambda: predict(live, shown)):
            scene(stage)
            wait_until(
                lambda: live.status().state in {LiveState.FAILED, LiveState.MISSING}, "it shows"
            )
            shown.caller = caller_view(live)
            wait_until(lambda: fleet_view(stage.client), "the fleet knows")
            shown.fleet = fleet_view(stage.client)
            shown.figures = figures_view(reader)
    return shown


def predict(live: LiveModel[TextModel], shown: Shown) -> None:
    """Predict once."""
    time.sleep(PAUSE_SECONDS)
    shown.predictions += 1
    try:
        live.current.predict()
    except BaseException as failure:  # noqa: BLE001 - each counts
        shown.failures.append(failure)


def caller_view(live: LiveModel[TextModel]) -> str:
    """Return what the status says."""
    status = live.status()
    reason = status.failure.reason if status.failure else status.missing_reason
    serving = status.serving.version if status.serving else None
    return f"{status.state}: {reason}; version {serving} serves"


def fleet_view(client: Client) -> str:
    """Return what the registry says of the replica; empty if it does not know yet."""
    replica = next(client.list_replicas(REFERENCE), None)
    if replica is None:
        return ""
    target = client.get_convergence(REFERENCE).target_version
    if replica.failure:
        return f"{replica.state}: {replica.failure}; serves {replica.serving_version}"
    gone = target is None
    return f"{replica.state}; serves {replica.serving_version}; no target" if gone else ""


def figures_view(reader: InMemoryMetricReader) -> str:
    """Return the figures that tell of a failure."""
    data: Any = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    values = {each.name: each.data.data_points[0].value for each in metrics}
    names = ("version", "behind", "failures")
    return ", ".join(f"{name} {values[f'herdbook.live.{name}']}" for name in names)


def say(name: str, shown: Shown) -> None:
    """Print what is seen of one candidate; fail if a prediction did."""
    sys.stdout.write(
        f"{name}\n  caller:  {shown.caller}\n  fleet:   {shown.fleet}\n"
        f"  figures: {shown.figures}\n"
        f"  {shown.predictions} predictions, {len(shown.failures)} failed\n"
    )
    sys.stdout.flush()
    assert not shown.failures, shown.failures[0]


def main() -> None:
    """Show all of them, in a namespace where disks may be mounted."""
    if INSIDE not in os.environ:
        command = [*NAMESPACE, sys.executable, "-m", "tests.faults.failing_candidates"]
        sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode)
    for name, scene in {**SCENES, **DISK_SCENES}.items():
        with tempfile.TemporaryDirectory() as directory:
            cache = Path(directory, "cache")
            cache.mkdir()
            if name in DISK_SCENES:
                mount("-t", "tmpfs", "-o", f"size={SMALL_CACHE_MIB}m", "none", str(cache))
            say(name, show(scene, Path(directory), cache))
            if name in DISK_SCENES:
                subprocess.run(["umount", "--lazy", cache], check=True)


if __name__ == "__main__":
    main()
