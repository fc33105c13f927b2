from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from herdbook.core.planning import Place
from herdbook.core.values import ChunkRef, File, Manifest
from herdbook.errors import DestinationUnusable
from herdbook.transfer import destinations, leftovers
from herdbook.transfer.destinations import StagedDirectory
from herdbook.transfer.leftovers import sweep

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
    assert left.endswith(".herdbook-partial")
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


def test_a_directory_that_another_pull_looks_at_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, seen = leftovers._lock, []

    def locked_once(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        if len(seen) == 1:
            raise BlockingIOError
        lock(descriptor)

    monkeypatch.setattr(leftovers, "_lock", locked_once)
    claim = leftovers.Claim(tmp_path / "out")
    assert len(set(seen)) == 2
    assert claim.directory == seen[1]
    claim.release()


def test_what_no_pull_has_left_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".mine.partial").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    link = f".x.{16 * 'a'}.herdbook-partial"
    (tmp_path / link).symlink_to(outside)
    StagedDirectory(tmp_path / "out", MANIFEST).discard()
    assert names(tmp_path) == sorted([".mine.partial", link, "outside"])


KILLED_WHILE_REPLACING = """
import os, shutil, signal, sys
from pathlib import Path
from herdbook.core.values import Manifest
from herdbook.transfer.destinations import StagedDirectory

destination, moment = Path(sys.argv[1]), sys.argv[2]
staged = StagedDirectory(destination, Manifest(()))
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if moment == "removing":
    shutil.rmtree = die
genuine = Path.rename
Path.rename = lambda path, to: die() if moment == "renaming" and to == destination else genuine(
    path, to
)
staged.publish(overwrite=True)
"""


def kill_while_replacing(destination: Path, moment: str) -> None:
    destination.mkdir()
    (destination / "old").write_text("old")
    subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_REPLACING, str(destination), moment],
        check=False,
        timeout=60,
    )
    assert len(names(destination.parent)) == 2


@pytest.mark.parametrize(("moment", "stays"), [("renaming", "old"), ("removing", None)])
def test_a_pull_killed_while_it_replaces_leaves_the_old_or_the_new(
    tmp_path: Path, moment: str, stays: str | None
) -> None:
    destination = tmp_path / "model"
    kill_while_replacing(destination, moment)
    sweep(tmp_path)
    assert names(tmp_path) == ["model"]
    assert names(destination) == ([stays] if stays else [])


@pytest.mark.parametrize("name", ["model", "x" * 230])
def test_what_cannot_be_put_back_is_kept(tmp_path: Path, name: str) -> None:
    kill_while_replacing(tmp_path / name, "renaming")
    (tmp_path / name).mkdir()
    for _ in range(2):
        sweep(tmp_path)
    (aside,) = tmp_path.glob(".*.herdbook-old")
    assert names(aside) == ["old"]


def test_a_file_that_takes_the_destination_s_place_meanwhile_stays(tmp_path: Path) -> None:
    destination = tmp_path / "model"
    destination.mkdir()
    staged = StagedDirectory(destination, MANIFEST)
    destination.rmdir()
    destination.write_text("mine")
    with pytest.raises(DestinationUnusable, match="something else"):
        staged.publish(overwrite=True)
    staged.discard()
    assert destination.read_text() == "mine"
    assert names(tmp_path) == ["model"]


def test_what_was_moved_aside_comes_back_if_a_file_takes_the_place_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "model"
    destination.mkdir()
    (destination / "old").write_text("old")
    staged = StagedDirectory(destination, MANIFEST)
    rename = Path.rename

    def too_late(path: Path, to: Path) -> Path:
        if to == destination and path.suffix == ".herdbook-partial":
            destination.write_text("mine")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", too_late)
    with pytest.raises(DestinationUnusable, match="something else"):
        staged.publish(overwrite=True)
    staged.discard()
    assert destination.read_text() == "mine"
    destination.unlink()
    sweep(tmp_path)
    assert names(tmp_path) == ["model"]
    assert names(destination) == ["old"]


def test_what_has_been_replaced_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "model"
    destination.mkdir()
    (destination / "old").write_text("old")
    staged = StagedDirectory(destination, MANIFEST)
    with monkeypatch.context() as patched:
        patched.setattr(destinations.shutil, "rmtree", lambda *_, **__: None)
        staged.publish(overwrite=True)
    shutil.rmtree(destination)
    staged.discard()
    assert not destination.exists()
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_what_another_pull_puts_there_at_the_last_moment_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "model"
    destination.mkdir()
    staged = StagedDirectory(destination, MANIFEST)
    rename, late = Path.rename, ["other"]

    def too_late(path: Path, to: Path) -> Path:
        if to == destination and late:
            destination.mkdir()
            (destination / late.pop()).touch()
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", too_late)
    staged.publish(overwrite=True)
    staged.discard()
    assert names(tmp_path) == ["model"]
    assert names(destination) == ["a"]


def test_a_failure_that_hides_what_was_moved_aside_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_while_replacing(tmp_path / "model", "renaming")
    (tmp_path / "model").mkdir()
    lstat = Path.lstat

    def failing(path: Path) -> os.stat_result:
        if path.suffix == ".herdbook-old":
            raise OSError(errno.EIO, "Input/output error")
        return lstat(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "lstat", failing)
        sweep(tmp_path)
    (tmp_path / "model").rmdir()
    sweep(tmp_path)
    assert names(tmp_path / "model") == ["old"]


def test_what_a_pull_under_way_has_moved_aside_is_left_alone(tmp_path: Path) -> None:
    staged = StagedDirectory(tmp_path / "model", MANIFEST)
    aside = staged._claim.replaced
    aside.mkdir()
    sweep(tmp_path)
    assert aside.exists()
    staged.discard()
    sweep(tmp_path)
    assert names(tmp_path) == ["model"]
