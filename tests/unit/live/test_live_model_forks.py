"""What the children of a forked process see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import os, sys
from herdbook.errors import ForkedProcess
from herdbook.live import LiveModel
from herdbook.live.face import LiveFace
from tests.unit.live.registries import REFERENCE, MemoryRegistry, Model

Model.made = []
registry = MemoryRegistry()
registry.add("one")
registry.move(1)
LiveFace._registry = lambda self: registry

def forked(act):
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
        print("fine", flush=True)
        os._exit(0)
    os.waitpid(child, 0)

def expect_forked(act):
    try:
        act()
    except ForkedProcess:
        return
    raise AssertionError("it did not say so")
"""

STARTED_BEFORE = """
live = LiveModel(REFERENCE, loader=Model).start()

def use():
    expect_forked(lambda: live.current)
    expect_forked(lambda: live.lease().__enter__())
    expect_forked(live.status)
    expect_forked(live.start)
    assert live.version is None
    live.close()

forked(use)
assert live.current.predict() == "one"
live.close()
"""

STARTED_AFTER = """
live = LiveModel(REFERENCE, loader=Model)

def use():
    with live:
        assert live.current.predict() == "one"

forked(use)
with live:
    assert live.current.predict() == "one"
"""


@pytest.mark.parametrize("story", [STARTED_BEFORE, STARTED_AFTER], ids=["before", "after"])
def test_a_fork_is_noticed_only_by_live_models_that_were_started_before(
    story: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + story],
        env={"PATH": "", "PYTHONPATH": "client:.", "HERDBOOK_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
