"""The command line as people and scripts use it, against a real server."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from herdbook.cli.app import build
from tests.support.ports import free_port
from tests.support.server import Engines, ServerProcess

HERDBOOK = (sys.executable, "-m", "herdbook.cli")


@dataclass(frozen=True)
class CommandLine:
    """Runs `herdbook`, in this process unless its end is what matters."""

    environment: dict[str, str]

    def __call__(self, *arguments: object, code: int = 0) -> Any:
        ended = CliRunner().invoke(build(), list(map(str, arguments)), env=self.environment)
        assert ended.exit_code == code, (ended.output, ended.exception)
        return ended

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [*HERDBOOK, *map(str, arguments)]
        environment = {**os.environ, **self.environment}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(command, env=environment, text=True, **options)


@pytest.fixture
def herdbook(server: ServerProcess, tmp_path: Path) -> CommandLine:
    cache = str(tmp_path / "cache")
    return CommandLine({"HERDBOOK_SERVER": server.address, "HERDBOOK_CACHE_DIR": cache})


@pytest.fixture
def model() -> str:
    return f"cli/m-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "trained"
    made.mkdir()
    (made / "weights.bin").write_bytes(os.urandom(100_000))
    (made / "config.json").write_text("{}")
    return made


def test_a_version_goes_from_a_directory_to_a_directory(
    herdbook: CommandLine, model: str, directory: Path, tmp_path: Path
) -> None:
    options = ["--metric", "rmse=6.5", "--param", "depth=4", "--tag", "team=fraud"]
    pushed = herdbook.json("push", model, directory, *options, "--alias", "champion")
    assert (pushed["number"], pushed["aliases"]) == (1, ["champion"])
    assert pushed["transfer"]["moved_bytes"] == pushed["size_bytes"] == 100_002
    assert pushed["environment"]["python"] == sys.version.split()[0]

    again = herdbook.json("push", model, directory, "--no-capture")
    assert (again["number"], again["transfer"]["moved_bytes"]) == (2, 0)
    assert not again["environment"]

    pulled = herdbook.json("pull", f"{model}@champion", tmp_path / "pulled")
    assert pulled["version"] == 1
    for file in directory.iterdir():
        assert (tmp_path / "pulled" / file.name).read_bytes() == file.read_bytes()

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    in_the_way = herdbook("pull", f"{model}:1", tmp_path / "mine", code=4)
    assert "DESTINATION_EXISTS" in in_the_way.stderr


def test_people_read_what_programs_read(herdbook: CommandLine, model: str, directory: Path) -> None:
    herdbook("push", model, directory, "--metric", "rmse=6.5", "--label", "2.1.0")
    shown = herdbook("show", f"{model}:2.1.0").stdout
    for text in (f"{model}:1", "2.1.0", "rmse=6.5", "2, 97.7 KiB", "sha256:"):
        assert text in shown
    assert "weights.bin" in herdbook("show", f"{model}:1", "--files").stdout
    assert f"{model}:1" in herdbook("versions", model).stdout
    assert model in herdbook("models", "--filter", f'name = "{model}"').stdout


def test_the_best_is_found_by_search(herdbook: CommandLine, model: str, directory: Path) -> None:
    for rmse in (6.5, 6.1, 7.2):
        herdbook("push", model, directory, "--metric", f"rmse={rmse}")
    options = ["--filter", "metrics.rmse < 7", "--order-by", "metrics.rmse asc"]
    found = herdbook.json("versions", model, *options)
    assert [version["number"] for version in found] == [2, 1]
    difference = herdbook.json("compare", f"{model}:1", f"{model}:2")["fields"]
    assert {"field": "metrics.rmse", "values": [6.5, 6.1], "differs": True} in difference


def test_an_alias_moves_by_compare_and_set_and_back(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    herdbook("push", model, directory)
    herdbook("push", model, directory, "--alias", "challenger")
    champion = f"{model}@champion"
    herdbook("alias", "set", champion, 1, "--expect", 0, "-m", "first")
    lost = herdbook("alias", "set", champion, 2, "--expect", 2, "--json", code=4)
    error = json.loads(lost.stderr)["error"]
    assert (error["reason"], error["metadata"]["current_version"]) == ("ALIAS_MOVED", "1")
    moved = herdbook.json("alias", "set", champion, "@challenger", "-m", "better")
    assert (moved["version"], moved["previous_version"]) == (2, 1)
    assert herdbook.json("alias", "rollback", champion, "-m", "worse")["version"] == 1
    listed = {alias["alias"]: alias["version"] for alias in herdbook.json("alias", "ls", model)}
    assert listed == {"challenger": 2, "champion": 1}
    history = herdbook.json("alias", "history", champion)
    assert [move["reason"] for move in history] == ["worse", "better", "first"]
    assert herdbook.json("alias", "rm", champion)["previous_version"] == 1
    assert "removed" in herdbook("alias", "history", champion).stdout


def test_versions_are_tagged_staged_described_deleted_and_restored(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    for _ in range(2):
        herdbook("push", model, directory)
    assert herdbook.json("tag", "set", f"{model}:1", "a=1", "b=2")["tags"] == {"a": "1", "b": "2"}
    assert herdbook.json("tag", "rm", f"{model}:1", "a")["tags"] == {"b": "2"}
    assert herdbook.json("tag", "set", model, "team=fraud")["tags"] == {"team": "fraud"}
    herdbook("stage", "set", f"{model}:1", "production")
    change = herdbook.json("stage", "set", f"{model}:2", "production", "--archive-existing")
    assert (change["version"]["stage"], change["archived_versions"]) == ("production", [1])
    edited = herdbook.json("edit", f"{model}:2", "-d", "Good", "--label", "1.0.0")
    assert (edited["description"], edited["label"]) == ("Good", "1.0.0")
    assert herdbook.json("delete", f"{model}:1", "--yes")["deleted_at"]
    herdbook("show", f"{model}:1", code=3)
    assert herdbook.json("show", f"{model}:1", "--deleted")["deleted_at"]
    assert herdbook.json("restore", f"{model}:1")["deleted_at"] is None
    herdbook("delete", model, "--yes")
    assert herdbook.json("restore", model)["name"] == model


def test_a_version_in_use_is_deleted_by_force_alone(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    herdbook("push", model, directory, "--alias", "champion")
    refused = herdbook("delete", f"{model}:1", "-y", code=4)
    assert "[VERSION_IN_USE]" in refused.stderr
    assert "--force" in refused.stderr
    herdbook("delete", f"{model}@champion", "-y", "--force")


def test_files_elsewhere_are_registered_and_not_pulled(
    herdbook: CommandLine, model: str, tmp_path: Path
) -> None:
    herdbook("push", model, "--source-uri", "s3://bucket/model")
    assert "s3://bucket/model" in herdbook("show", f"{model}:1").stdout
    refused = herdbook("pull", model, tmp_path / "pulled", code=4)
    assert "[NO_MANIFEST]" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["show", "cli/gone@champion"], 3, "MODEL_NOT_FOUND"),
        (["show", "cli/gone:0x"], 7, "REFERENCE_INVALID"),
        (["versions", "--filter", "metrics.rmse <"], 7, "FILTER_INVALID"),
        (["versions", "--order-by", "what ever"], 7, "ORDER_BY_INVALID"),
        (["push", "cli/m", "/does/not/exist"], 3, "SOURCE_NOT_FOUND"),
        (["push", "no name", __file__], 7, "NAME_INVALID"),
    ],
)
def test_refusals_have_exit_codes_and_reasons(
    herdbook: CommandLine, arguments: list[str], code: int, reason: str
) -> None:
    for_people = herdbook(*arguments, code=code)
    assert f"[{reason}]" in for_people.stderr
    assert "Traceback" not in for_people.stderr
    for_programs = herdbook(*arguments, "--json", code=code)
    assert for_programs.stdout == ""
    assert json.loads(for_programs.stderr)["error"]["reason"] == reason


def test_a_server_that_is_not_there_has_its_own_exit_code(herdbook: CommandLine) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    ended = herdbook("models", "--server", nobody, "--call-timeout", "1s", code=6)
    assert nobody in ended.stderr


def test_events_tell_what_happened(herdbook: CommandLine, model: str, directory: Path) -> None:
    herdbook("push", model, directory, "--alias", "champion", "-m", "nightly")
    lines = herdbook("events", model, "--json").stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["model_created", "version_registered", "alias_set"]
    assert "nightly" in herdbook("events", model).stdout


def test_a_watch_tells_moves_and_ends_by_an_interrupt(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    champion = f"{model}@champion"
    watching = herdbook.start("watch", champion, "--json")
    try:
        missing = json.loads(_line(watching))
        assert (missing["reference"], missing["resolution"]) == (champion, None)
        herdbook("push", model, directory, "--alias", "champion")
        assert json.loads(_line(watching))["resolution"]["version"] == 1
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
    finally:
        _end(watching)
    assert herdbook.json("watch", champion, "--once")["resolution"]["version"] == 1


def test_events_are_followed_until_an_interrupt(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    herdbook("push", model, directory)
    following = herdbook.start("events", model, "--follow", "--json")
    try:
        kinds = [json.loads(_line(following))["kind"] for _ in range(2)]
        assert kinds == ["model_created", "version_registered"]
        herdbook("tag", "set", model, "a=1")
        assert json.loads(_line(following))["kind"] == "model_tagged"
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 130
    finally:
        _end(following)


def test_a_reader_that_leaves_ends_the_list(herdbook: CommandLine, model: str) -> None:
    herdbook("push", model, "--source-uri", "s3://b/m", "--description", "x" * 60_000)
    for _ in range(3):
        herdbook("push", model, "--source-uri", "s3://b/m", "--description", "x" * 60_000)
    listing = herdbook.start("versions", model, "--json", bufsize=0)
    try:
        assert listing.stdout is not None
        assert listing.stdout.read(1) == "["
        listing.stdout.close()
        assert listing.wait(30) == 141
        assert listing.stderr is not None
        assert listing.stderr.read() == ""
    finally:
        _end(listing)


def test_convergence_without_replicas_is_waited_for_in_vain(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    herdbook("push", model, directory, "--alias", "champion")
    reached = herdbook.json("convergence", f"{model}@champion")
    assert (reached["convergence"]["target_version"], reached["convergence"]["replica_count"]) == (
        1,
        0,
    )
    herdbook("convergence", f"{model}@champion", "--wait", "--timeout", "1s", code=6)


def test_letters_that_the_output_lacks_are_escaped_for_programs_and_replaced_for_people(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    herdbook("push", model, directory, "-d", "schön 🐄")
    narrow = CommandLine({**herdbook.environment, "PYTHONIOENCODING": "ascii"})
    shown = narrow.start("show", f"{model}:1")
    document = narrow.start("show", f"{model}:1", "--json")
    try:
        assert "sch?n ?" in shown.communicate(timeout=60)[0]
        assert json.loads(document.communicate(timeout=60)[0])["description"] == "schön 🐄"
    finally:
        _end(shown)
        _end(document)


def test_garbage_is_reported(herdbook: CommandLine) -> None:
    assert herdbook.json("gc")["deleted"] is False


def test_the_doctor_finds_all_well(herdbook: CommandLine) -> None:
    document = herdbook.json("doctor")
    assert document["healthy"] is True
    assert {check["finding"] for check in document["checks"]} == {"ok"}


def test_a_token_says_who_calls(
    herdbook: CommandLine, embedded_engines: Engines, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("ana correct-horse-battery-staple\n")
    guarded = ServerProcess(embedded_engines, tmp_path, tokens_file=str(tmp_path / "tokens"))
    with guarded as server:
        where = ("--server", server.address)
        refused = herdbook("models", *where, code=5)
        assert "HERDBOOK_TOKEN" in refused.stderr
        herdbook("models", *where, "--token", "wrong", code=5)
        known = CommandLine({"HERDBOOK_TOKEN": "correct-horse-battery-staple"})
        checks = {check["name"]: check for check in known.json("doctor", *where)["checks"]}
        assert checks["actor"]["detail"].endswith("ana")


def test_a_push_at_a_terminal_shows_a_bar_and_leaves_stdout_alone(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    screen, terminal = pty.openpty()
    pushing = herdbook.start("push", model, directory, "--json", stderr=terminal)
    os.close(terminal)
    shown = _all_of(screen)
    try:
        assert pushing.wait(60) == 0
        assert pushing.stdout is not None
        assert json.loads(pushing.stdout.read())["number"] == 1
        assert f"Pushing {model}" in shown
    finally:
        _end(pushing)


def test_a_deletion_at_a_terminal_is_asked_for(
    herdbook: CommandLine, model: str, directory: Path
) -> None:
    herdbook("push", model, directory)
    assert _answered(herdbook, b"n\n", model) == 1
    assert herdbook.json("show", f"{model}:1")["deleted_at"] is None
    assert _answered(herdbook, b"y\n", model) == 0
    herdbook("show", f"{model}:1", code=3)


def _answered(herdbook: CommandLine, answer: bytes, model: str) -> int:
    """Answers the question whether to delete version 1; returns the exit code."""
    keyboard, terminal = pty.openpty()
    deleting = herdbook.start("delete", f"{model}:1", stdin=terminal, stderr=terminal)
    os.close(terminal)
    try:
        os.write(keyboard, answer)
        assert "Delete" in _all_of(keyboard)
        return deleting.wait(60)
    finally:
        _end(deleting)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _all_of(screen: int) -> str:
    """Reads a terminal until the last process has left it."""
    shown = b""
    try:
        while part := os.read(screen, 65_536):
            shown += part
    except OSError:  # how Linux says that nobody is there any more
        pass
    finally:
        os.close(screen)
    return shown.decode(errors="replace")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
