"""The demonstration, from beginning to end and broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

DEMO = (sys.executable, "-m", "herdbook.cli", "demo")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo, at home in `tmp_path`."""
    clean = {name: value for name, value in os.environ.items() if "HERDBOOK_" not in name}
    with (tmp_path / "told.txt").open("w") as told:
        process = subprocess.Popen(
            DEMO, env={**clean, "TMPDIR": str(tmp_path)}, stdout=told, stderr=told, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def told(home: Path) -> str:
    return (home / "told.txt").read_text()


def processes_of(home: Path) -> list[str]:
    """Command lines of living processes that name the demo's home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in line:
            found.append(line)
    return found


def test_every_promise_is_kept(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    assert demo.wait(200) == 0, told(tmp_path)
    text = told(tmp_path)
    assert "✗" not in text
    assert "promises kept" in text
    assert "none failed, each by one version" in text
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "told.txt"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_what_breaks_it_off_ends_all_that_it_started(
    demo: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    wait_until(
        lambda: "predictions a second" in told(tmp_path), "predictions", deadline_seconds=100
    )
    assert len(processes_of(tmp_path)) == 2
    demo.send_signal(number)
    assert demo.wait(60) == code, told(tmp_path)
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "told.txt"]


def test_a_server_that_dies_breaks_it_off(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    wait_until(
        lambda: "predictions a second" in told(tmp_path), "predictions", deadline_seconds=100
    )
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        line = entry.read_bytes()
        if str(tmp_path).encode() in line and b"herdbook_server" in line:
            os.kill(int(entry.parent.name), signal.SIGKILL)
    assert demo.wait(100) == 1
    assert "broke off" in told(tmp_path)
    assert processes_of(tmp_path) == []
