from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from herdbook import Capture, Code, Environment, Lineage, provenance
from herdbook.core.values import Version
from herdbook.provenance import described, find_code, find_environment


@pytest.fixture
def work_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git work tree with one commit, which the process runs in."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "train.py").write_text("print(1)")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def described_with(capture: Capture, *, lineage: Lineage | None = None) -> Version:
    return described(
        "m",
        metrics=None,
        params={"depth": 8},
        tags=None,
        description="",
        label=None,
        author=None,
        signature=None,
        input_example=None,
        framework="",
        format="",
        lineage=lineage,
        environment=None,
        capture=capture,
    )


def test_the_commit_and_whether_something_was_changed_since_are_found(work_tree: Path) -> None:
    commit = git(work_tree, "rev-parse", "HEAD")
    assert find_code() == Code(repository=str(work_tree), commit=commit, dirty=False)
    (work_tree / "train.py").write_text("print(2)")
    assert find_code() == Code(repository=str(work_tree), commit=commit, dirty=True)


@pytest.mark.parametrize(
    ("remote", "recorded"),
    [
        ("https://ana:secret@git.example.com/a/b.git", "https://git.example.com/a/b.git"),
        ("https://ana:s@cr@t@git.example.com/a/b.git", "https://git.example.com/a/b.git"),
        ("https://token@git.example.com:8443/a@b.git", "https://git.example.com:8443/a@b.git"),
        ("git@git.example.com:a/b.git", "git@git.example.com:a/b.git"),
    ],
)
def test_no_credentials_are_recorded(work_tree: Path, remote: str, recorded: str) -> None:
    git(work_tree, "remote", "add", "origin", remote)
    code = find_code()
    assert code is not None
    assert code.repository == recorded


def test_a_work_tree_that_git_cannot_look_through_does_not_count_as_clean(
    work_tree: Path,
) -> None:
    (work_tree / ".git" / "index").write_bytes(b"damaged")
    code = find_code()
    assert code is not None
    assert code.dirty


def test_without_git_or_a_work_tree_no_code_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_code() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_code() is None


def test_the_environment_names_what_is_installed() -> None:
    found = find_environment()
    assert found.packages["grpcio"]
    assert found.python.count(".") == 2
    assert found.platform
    assert " x " in found.hardware


def test_what_is_told_goes_before_what_is_found_out(work_tree: Path) -> None:
    told = Lineage(run_id="7", code=Code(commit="abc"))
    assert described_with(Capture(), lineage=told).lineage == told
    found = described_with(Capture(), lineage=Lineage(run_id="7")).lineage
    assert found is not None
    assert (found.run_id, found.code) == ("7", find_code())


def test_what_is_not_to_be_found_out_stays_empty(
    work_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_packages", dict)
    nothing = described_with(Capture.switched(False))
    assert (nothing.lineage, nothing.environment, nothing.author) == (None, None, "")
    assert nothing.params == {"depth": "8"}
    everything = described_with(Capture.switched(True))
    assert everything.author
    assert isinstance(everything.environment, Environment)
    only_code = described_with(Capture(environment=False, author=False))
    assert only_code.lineage is not None
    assert (only_code.environment, only_code.author) == (None, "")
