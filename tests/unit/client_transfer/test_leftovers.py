from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from herdbook import locks
from herdbook.core.planning import Place
from herdbook.core.values import ChunkRef, File, Manifest
from herdbook.errors import DestinationExists, DestinationUnusable
from herdbook.locks import FileLock
from herdbook.transfer import destinations, leftovers, mounts
from herdbook.transfer.destinations import StagedDirectory
from herdbook.transfer.exchanging import exchange
from herdbook.transfer.leftovers import sweep

MANIFEST = Manifest((File("a/b", (ChunkRef(bytes(32), 4),)),))
OTHER = Manifest((File("other", ()),))

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
    lock, left = names(tmp_path)
    assert lock.endswith(".herdbook-lock")
    assert left.endswith(".herdbook-partial")
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_pulls_under_way_leave_each_other_alone(tmp_path: Path) -> None:
    first = StagedDirectory(tmp_path / "first", MANIFEST)
    second = StagedDirectory(tmp_path / "second", MANIFEST)
    for staged in (first, second):
        staged.write([(Place(0, 0), b"data")])
        staged.publish(overwrite=False)
        staged.discard()
    assert (tmp_path / "first/a/b").read_bytes() == (tmp_path / "second/a/b").read_bytes()
    assert names(tmp_path) == ["first", "second"]


def test_a_name_that_another_pull_looks_at_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_lock, seen = leftovers.try_lock, []

    def try_lock_again(path: Path, *, exclusive: bool) -> FileLock | None:
        seen.append(path)
        return None if len(seen) == 1 else try_lock(path, exclusive=exclusive)

    def never(path: Path, *, exclusive: bool) -> None:
        pass

    monkeypatch.setattr(leftovers, "try_lock", never)
    with pytest.raises(BlockingIOError):
        leftovers.Claim(tmp_path / "out")

    monkeypatch.setattr(leftovers, "try_lock", try_lock_again)
    claim = leftovers.Claim(tmp_path / "out")
    assert len(set(seen)) == 2
    assert names(tmp_path) == [seen[1].name, claim.directory.name]
    claim.release()
    assert names(tmp_path) == []


def test_what_no_pull_has_left_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "mine").mkdir(parents=True)
    (tmp_path / ".mine.herdbook-lock").touch()
    (tmp_path / f".x.{16 * 'a'}.herdbook-partial").symlink_to(outside)
    (tmp_path / f".x.{16 * 'a'}.herdbook-lock").touch()
    (tmp_path / f".y.{16 * 'b'}.herdbook-lock").mkdir()
    (tmp_path / f".z.{16 * 'c'}.herdbook-lock").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / f".w.{16 * 'd'}.herdbook-partial")
    (tmp_path / f".w.{16 * 'd'}.herdbook-lock").touch()
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before
    assert names(outside) == ["mine"]


def test_what_cannot_be_removed_now_is_left_to_the_next_pull(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = StagedDirectory(tmp_path / "out", MANIFEST)
    with monkeypatch.context() as patched:
        patched.setattr(leftovers, "remove_tree", lambda _: None)
        staged.discard()
    assert len(names(tmp_path)) == 2
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_without_locks_nothing_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patched:
        patched.setattr(locks.fcntl, "flock", refuse)
        staged = StagedDirectory(tmp_path / "out", MANIFEST)
    sweep(tmp_path)
    staged.publish(overwrite=False)
    staged.discard()
    assert names(tmp_path) == ["out"]


KILLED_WHILE_REPLACING = """
import os, shutil, signal, sys
from pathlib import Path
from herdbook.core.values import Manifest
from herdbook.transfer import destinations
from herdbook.transfer.destinations import StagedDirectory

staged = StagedDirectory(Path(sys.argv[1]), Manifest(()))
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "before":
    destinations.exchange = die
staged.publish(overwrite=True)
die()
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A destination that holds something."""
    destination = tmp_path / "model"
    destination.mkdir()
    (destination / "old").write_text("old")
    return destination


@pytest.fixture(params=["at once", "in steps"])
def exchanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file system has directories change places."""

    def unsupported(path: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))

    if request.param == "in steps":
        monkeypatch.setattr(destinations, "exchange", unsupported)
    return str(request.param)


def publish(destination: Path, manifest: Manifest = MANIFEST) -> None:
    staged = StagedDirectory(destination, manifest)
    try:
        staged.publish(overwrite=True)
    finally:
        staged.discard()


@pytest.mark.parametrize(("moment", "stays"), [("before", ["old"]), ("after", [])])
def test_a_pull_killed_while_it_replaces_leaves_the_old_or_the_new(
    old: Path, moment: str, stays: list[str]
) -> None:
    subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_REPLACING, str(old), moment], check=False, timeout=60
    )
    assert names(old) == stays
    assert len(names(old.parent)) == 3
    sweep(old.parent)
    assert names(old.parent) == ["model"]
    assert names(old) == stays


@pytest.mark.usefixtures("exchanging")
def test_what_is_replaced_is_gone(old: Path) -> None:
    publish(old)
    assert names(old.parent) == ["model"]
    assert names(old) == ["a"]


@pytest.mark.usefixtures("exchanging")
def test_a_file_that_takes_the_destination_s_place_meanwhile_stays(old: Path) -> None:
    staged = StagedDirectory(old, MANIFEST)
    shutil.rmtree(old)
    old.write_text("mine")
    with pytest.raises(DestinationUnusable, match="something else"):
        staged.publish(overwrite=True)
    staged.discard()
    assert old.read_text() == "mine"
    assert names(old.parent) == ["model"]


def at_the_last_moment(act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has something happen between the look at the destination and the exchange."""
    exchange, acts = destinations.exchange, [act]

    def late(path: Path, other: Path) -> None:
        while acts:
            acts.pop()()
        exchange(path, other)

    monkeypatch.setattr(destinations, "exchange", late)


@pytest.mark.usefixtures("exchanging")
def test_a_file_that_takes_the_place_at_the_last_moment_stays(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_by_a_file() -> None:
        shutil.rmtree(old)
        old.write_text("mine")

    at_the_last_moment(replace_by_a_file, monkeypatch)
    with pytest.raises(DestinationUnusable, match="something else"):
        publish(old)
    assert old.read_text() == "mine"
    assert names(old.parent) == ["model"]


@pytest.mark.usefixtures("exchanging")
def test_a_destination_that_goes_at_the_last_moment_is_free(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_last_moment(lambda: shutil.rmtree(old), monkeypatch)
    publish(old)
    assert names(old) == ["a"]
    assert names(old.parent) == ["model"]


def between_the_steps(act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has something happen when the destination has been moved aside."""
    rename, acts = Path.rename, [act]

    def late(path: Path, to: Path) -> Path:
        if path.suffix == ".herdbook-partial" and [*path.parent.glob(".*.herdbook-old")]:
            while acts:
                acts.pop()()
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", late)


@pytest.mark.parametrize("exchanging", ["in steps"], indirect=True)
@pytest.mark.usefixtures("exchanging")
def test_what_another_pull_puts_there_between_the_steps_is_replaced_too(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between_the_steps(lambda: publish(old, OTHER), monkeypatch)
    publish(old)
    assert names(old) == ["a"]
    assert names(old.parent) == ["model"]


@pytest.mark.parametrize("exchanging", ["in steps"], indirect=True)
@pytest.mark.usefixtures("exchanging")
def test_what_another_pull_makes_superfluous_is_a_leftover_before_it_is_removed(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_it() -> None:
        publish(old, OTHER)
        monkeypatch.setattr(leftovers, "remove_tree", lambda _: None)

    between_the_steps(replace_it, monkeypatch)
    publish(old)
    assert not [*old.parent.glob(".*.herdbook-old")]
    monkeypatch.undo()
    sweep(old.parent)
    assert names(old.parent) == ["model"]


@pytest.mark.parametrize("exchanging", ["in steps"], indirect=True)
@pytest.mark.usefixtures("exchanging")
def test_what_cannot_be_moved_out_of_an_image_is_told_in_words(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuse(path: Path, to: Path) -> Path:
        if path == old:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DestinationUnusable, match="lower layer of an overlay"):
        publish(old)
    assert names(old) == ["old"]


@pytest.mark.parametrize("exchanging", ["in steps"], indirect=True)
@pytest.mark.usefixtures("exchanging")
def test_a_file_that_comes_between_the_steps_stays_and_the_old_is_named(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between_the_steps(lambda: old.write_text("mine"), monkeypatch)
    with pytest.raises(DestinationUnusable, match=r"what was there is .*\.herdbook-old now"):
        publish(old)
    assert old.read_text() == "mine"
    (aside,) = old.parent.glob(".*.herdbook-old")
    assert names(aside) == ["old"]


@pytest.mark.parametrize("exchanging", ["in steps"], indirect=True)
@pytest.mark.usefixtures("exchanging")
def test_what_is_away_for_an_instant_is_nothing_else(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pull, in steps, has it aside while this one looks."""
    looks_like, away = destinations._is_something_else, old.with_name("away")

    def look(path: Path) -> bool:
        if path != old:
            return looks_like(path)
        path.rename(away)
        seen = looks_like(path)
        away.rename(path)
        return seen

    monkeypatch.setattr(destinations, "_is_something_else", look)
    publish(old)
    assert names(old) == ["a"]
    assert names(old.parent) == ["model"]


@pytest.mark.parametrize("exchanging", ["in steps"], indirect=True)
@pytest.mark.usefixtures("exchanging")
def test_what_was_replaced_in_steps_is_left_to_the_next_pull(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(leftovers, "remove_tree", lambda _: None)
        publish(old)
    assert len(names(old.parent)) == 3
    sweep(old.parent)
    assert names(old.parent) == ["model"]


@pytest.mark.parametrize("exchanging", ["in steps"], indirect=True)
@pytest.mark.usefixtures("exchanging")
def test_what_fails_between_the_steps_is_undone(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    between_the_steps(fail, monkeypatch)
    with pytest.raises(DestinationUnusable, match="Input/output error"):
        publish(old)
    assert names(old) == ["old"]
    assert names(old.parent) == ["model"]


def test_a_sweep_leaves_alone_what_is_being_replaced(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, seen = destinations.exchange, []

    def exchange_and_sweep(path: Path, other: Path) -> None:
        exchange(path, other)
        sweep(old.parent)
        seen.append(names(path))

    monkeypatch.setattr(destinations, "exchange", exchange_and_sweep)
    publish(old)
    assert seen == [["old"]]
    assert names(old) == ["a"]
    assert names(old.parent) == ["model"]


def test_a_file_that_comes_at_the_last_moment_and_goes_again_leaves_nothing(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = destinations.exchange

    def late(path: Path, other: Path) -> None:
        shutil.rmtree(old)
        old.write_text("mine")
        exchange(path, other)
        shutil.rmtree(old)

    monkeypatch.setattr(destinations, "exchange", late)
    with pytest.raises(DestinationUnusable, match="something else"):
        publish(old)
    assert old.read_text() == "mine"


def test_what_has_been_mounted_in_a_leftover_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f".x.{16 * 'a'}.herdbook-partial"
    (left / "volume" / "mine").mkdir(parents=True)
    (tmp_path / f".x.{16 * 'a'}.herdbook-lock").touch()
    told = tmp_path / "mountinfo"
    told.write_bytes(b"2 1 0:1 / %b/volume rw\n" % bytes(left))
    with monkeypatch.context() as patched:
        patched.setattr(mounts, "_MOUNTS", told)
        sweep(tmp_path)
    assert names(left / "volume") == ["mine"]
    told.unlink()
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_what_is_mounted_below_meanwhile_is_not_replaced(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = StagedDirectory(old, MANIFEST)
    told = old.with_name("mountinfo")
    told.write_bytes(b"1 0 0:1 / /a\rb rw - tmpfs a\rb rw\n2 1 0:1 / %b/x rw\n" % bytes(old))
    monkeypatch.setattr(mounts, "_MOUNTS", told)
    with pytest.raises(DestinationUnusable, match="model/x is a mount point"):
        staged.publish(overwrite=True)
    staged.discard()
    assert names(old) == ["old"]


@pytest.mark.usefixtures("exchanging")
def test_what_another_pull_puts_there_at_the_last_moment_is_replaced_too(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_last_moment(lambda: publish(old, OTHER), monkeypatch)
    publish(old)
    assert names(old) == ["a"]
    assert names(old.parent) == ["model"]


def test_what_comes_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    staged = StagedDirectory(tmp_path / "model", MANIFEST)
    (tmp_path / "model" / "mine").mkdir(parents=True)
    with pytest.raises(DestinationExists):
        staged.publish(overwrite=False)
    staged.discard()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["mine"]


def test_directories_change_places(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / name).mkdir(parents=True)
    exchange(tmp_path / "one", tmp_path / "two")
    assert (names(tmp_path / "one"), names(tmp_path / "two")) == (["two"], ["one"])
    with pytest.raises(FileNotFoundError) as raised:
        exchange(tmp_path / "one", tmp_path / "none")
    assert raised.value.filename2 == str(tmp_path / "none")
