from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from herdbook.core.values import Resolution
from herdbook.errors import DestinationExists, DestinationUnusable
from herdbook.sidecar import DirectoryInUse, Layout
from herdbook.sidecar.directory import PlacedVersion, ServedDirectory


def resolution(version: int) -> Resolution:
    return Resolution("fraud/tc", version, f"sha256:{version:064x}")


def files_of(home: Path, version: int, *names: str) -> Path:
    root = home / f"files {version}"
    if root.exists():
        return root
    for name in names or ("model.onnx", "deep/vocabulary.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{name} of {version}")
        (root / name).chmod(0o444)
    return root


def tree(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): path.read_text()
        for path in directory.rglob("*")
        if path.is_file()
    }


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != ".herdbook")


def made(root: Path, layout: Layout = Layout.CURRENT, *, keep: int = 1) -> ServedDirectory:
    directory = ServedDirectory(root, layout, model="fraud/tc", name="tc", keep=keep)
    directory.open()
    return directory


def served(directory: ServedDirectory, home: Path, version: int) -> PlacedVersion:
    placed = directory.place(resolution(version), files_of(home, version))
    directory.show(placed)
    directory.accept(placed)
    return placed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tc"


@pytest.fixture
def directory(root: Path) -> Iterator[ServedDirectory]:
    opened = made(root)
    yield opened
    opened.close()


def test_a_version_is_found_by_a_link_when_it_is_shown(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    placed = directory.place(resolution(7), files_of(tmp_path, 7))
    assert visible(root) == []
    directory.show(placed)
    assert visible(root) == ["current"]
    assert tree(root / "current") == tree(tmp_path / "files 7")
    assert directory.accepted is None
    directory.accept(placed)
    assert directory.accepted is not None
    assert (directory.accepted.path, directory.accepted.resolution) == (
        placed.path,
        placed.resolution,
    )


def test_the_link_is_relative_so_that_a_volume_may_be_mounted_anywhere(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    served(directory, tmp_path, 7)
    moved = root.rename(tmp_path / "elsewhere")
    assert tree(moved / "current") == tree(tmp_path / "files 7")


def test_tf_serving_finds_an_older_version_alone(root: Path, tmp_path: Path) -> None:
    directory = made(root, Layout.TF_SERVING)
    served(directory, tmp_path, 7)
    older = directory.place(resolution(6), files_of(tmp_path, 6))
    directory.show(older)
    assert visible(root) == ["6"]
    assert tree(root / "6") == tree(tmp_path / "files 6")


def test_triton_finds_the_configuration_beside_the_numbered_version(
    root: Path, tmp_path: Path
) -> None:
    directory = made(root, Layout.TRITON)
    files = files_of(tmp_path, 7, "config.pbtxt", "model.onnx", "labels/config.pbtxt")
    directory.show(directory.place(resolution(7), files))
    assert sorted(tree(root / "repository/tc")) == [
        "7/labels/config.pbtxt",
        "7/model.onnx",
        "config.pbtxt",
    ]


def test_models_share_a_triton_repository_that_holds_nothing_else(
    root: Path, tmp_path: Path
) -> None:
    for name in ("tc", "cows"):
        directory = ServedDirectory(root, Layout.TRITON, model="fraud/tc", name=name, keep=1)
        directory.open()
        directory.show(directory.place(resolution(7), files_of(tmp_path, 7)))
    assert sorted(path.name for path in (root / "repository").iterdir()) == ["cows", "tc"]


def test_a_version_that_is_shown_again_looks_new(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    for version in (1, 2, 1):
        served(directory, tmp_path, version)
        newest = max((root / ".herdbook/versions").iterdir(), key=lambda p: p.stat().st_mtime_ns)
        assert newest.name.startswith(f"{version}-")


def test_what_is_a_triton_model_already_stays_as_it_is(root: Path, tmp_path: Path) -> None:
    directory = made(root, Layout.TRITON)
    files = files_of(tmp_path, 7, "config.pbtxt", "1/model.onnx")
    directory.show(directory.place(resolution(7), files))
    assert sorted(tree(root / "repository/tc")) == ["1/model.onnx", "config.pbtxt"]


def test_files_are_not_copied_on_one_file_system(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    served(directory, tmp_path, 7)
    assert (root / "current/model.onnx").samefile(tmp_path / "files 7/model.onnx")


def test_files_are_copied_where_they_cannot_have_two_names(
    directory: ServedDirectory, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    served(directory, tmp_path, 7)
    copy = root / "current/model.onnx"
    assert copy.read_text() == "model.onnx of 7"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o444


@pytest.mark.parametrize("damage", ["changed", "missing", "foreign"])
def test_a_damaged_version_is_placed_anew(
    directory: ServedDirectory, root: Path, tmp_path: Path, damage: str
) -> None:
    placed = served(directory, tmp_path, 7)
    file = placed.path / "model.onnx"
    if damage == "foreign":
        (placed.path / "more").touch()
    else:
        file.unlink()
    if damage == "changed":
        file.write_text("model.onnx of 8")
    again = directory.place(resolution(7), tmp_path / "files 7")
    assert again.path != placed.path
    directory.show(again)
    assert tree(root / "current") == tree(tmp_path / "files 7")
    assert directory.shown is not None
    assert directory.shown.resolution == resolution(7)
    directory.accept(again)
    assert directory.place(resolution(7), tmp_path / "files 7").path == again.path


def test_old_versions_are_kept_as_many_as_wanted_the_last_ones(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    for version in (1, 2, 3, 1):
        served(directory, tmp_path, version)
    directory.prune()
    kept = {path.name.partition("-")[0] for path in (root / ".herdbook/versions").iterdir()}
    assert kept == {"1", "3"}


def test_a_version_that_is_found_is_never_pruned(root: Path, tmp_path: Path) -> None:
    directory = made(root, Layout.TF_SERVING, keep=0)
    served(directory, tmp_path, 7)
    directory.show(directory.place(resolution(8), files_of(tmp_path, 8)))
    directory.prune()
    assert tree(root / "8") == tree(tmp_path / "files 8")
    accepted = directory.accepted
    assert accepted is not None
    assert tree(accepted.path) == tree(tmp_path / "files 7")


def test_what_a_killed_process_left_half_built_is_removed(
    directory: ServedDirectory, root: Path
) -> None:
    directory.close()
    (root / ".herdbook/tmp-0123/model").mkdir(parents=True)
    (root / ".herdbook/tmp-4567").symlink_to("versions")
    os.mkfifo(root / ".herdbook/tmp-89ab")
    made(root).close()
    assert sorted(path.name for path in (root / ".herdbook").iterdir()) == ["lock", "versions"]


def test_a_directory_has_one_sidecar(directory: ServedDirectory, root: Path) -> None:
    with pytest.raises(DirectoryInUse, match=str(root)):
        made(root)
    directory.close()
    made(root).close()


def test_a_directory_that_was_removed_is_made_anew(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    served(directory, tmp_path, 7)
    shutil.rmtree(root)
    served(directory, tmp_path, 8)
    assert tree(root / "current") == tree(tmp_path / "files 8")
    with pytest.raises(DirectoryInUse):
        made(root)


def test_a_directory_that_was_removed_may_have_another_sidecar_by_now(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    shutil.rmtree(root / ".herdbook")
    other = made(root)
    with pytest.raises(DirectoryInUse):
        directory.place(resolution(7), files_of(tmp_path, 7))
    other.close()
    served(directory, tmp_path, 7)


def test_what_is_not_the_sidecar_s_is_left_alone(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    (root / "current").mkdir()
    (root / "mine").symlink_to("elsewhere")
    placed = directory.place(resolution(7), files_of(tmp_path, 7))
    with pytest.raises(DestinationExists, match="current is in the way"):
        directory.show(placed)
    directory.accept(placed)
    assert visible(root) == ["current", "mine"]


def test_links_are_known_by_whatever_path_the_directory_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    directory = made(Path("../models").absolute(), keep=0)
    for version in (1, 2):
        served(directory, tmp_path, version)
        directory.prune()
    assert tree(tmp_path / "models/current") == tree(tmp_path / "files 2")


def test_a_version_with_a_link_that_leads_nowhere_is_damaged(
    directory: ServedDirectory, root: Path, tmp_path: Path
) -> None:
    placed = served(directory, tmp_path, 7)
    (placed.path / "model.onnx").unlink()
    (placed.path / "model.onnx").symlink_to("nowhere")
    directory.show(directory.place(resolution(7), tmp_path / "files 7"))
    assert tree(root / "current") == tree(tmp_path / "files 7")


def test_opening_prunes(root: Path, tmp_path: Path) -> None:
    directory = made(root)
    for version in (1, 2, 3):
        served(directory, tmp_path, version)
    directory.close()
    made(root, keep=0).close()
    assert len(list((root / ".herdbook/versions").iterdir())) == 1


def test_closing_again_does_nothing(directory: ServedDirectory) -> None:
    directory.close()
    directory.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DestinationUnusable, match="file/models cannot be made"):
        made(tmp_path / "file" / "models")
