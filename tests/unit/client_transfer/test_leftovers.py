from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from herdbook.core.planning import Place
from herdbook.core.values import ChunkRef, File, Manifest
from herdbook.transfer.destinations import StagedDirectory

MANIFEST = Manifest((File("a/b", (ChunkRef(bytes(32), 4),)),))

KILLED = """
import os, signal, sys
from pathlib import Path
from herdbook.core.values import Manifest
from herdbook.transfer.destinations import StagedDirectory

staged = StagedDirectory(Path(sys.argv[1]), Manifest(()))
os.kill(os.getpid(), signal.SIGKILL)
"""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_next_pull_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x")], check=False, timeout=60)
    (left,) = names(tmp_path)
    assert left.endswith(".partial")
    staged = StagedDirectory(tmp_path / "out", MANIFEST)
    staged.publish(overwrite=False)
    staged.discard()
    assert names(tmp_path) == ["out"]


def test_pulls_under_way_leave_each_other_alone(tmp_path: Path) -> None:
    first = StagedDirectory(tmp_path / "first", MANIFEST)
    second = StagedDirectory(tmp_path / "second", MANIFEST)
    for staged in (first, second):
        staged.write([(Place(0, 0), b"data")])
        staged.publish(overwrite=False)
        staged.discard()
    assert (tmp_path / "first/a/b").read_bytes() == (tmp_path / "second/a/b").read_bytes()
    assert names(tmp_path) == ["first", "second"]


def test_what_no_pull_has_left_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".mine.partial").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    link = f".x.{16 * 'a'}.partial"
    (tmp_path / link).symlink_to(outside)
    StagedDirectory(tmp_path / "out", MANIFEST).discard()
    assert names(tmp_path) == sorted([".mine.partial", link, "outside"])
