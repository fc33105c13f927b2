"""Commands that change models, versions and aliases."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from herdbook import errors
from herdbook.core.values import Alias, AliasMove, Model, Resolution, Stage, StageChange, Version
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.test_reading import SOME_TIME

MOVED = Alias("fraud/tc", "champion", 7, previous_version=6)


def test_an_alias_is_set_to_a_number(herdbook: CommandLine) -> None:
    options = ["--expect", "6", "-m", "passed the canary"]
    result = herdbook("alias", "set", "fraud/tc@champion", "7", *options, set_alias=MOVED)
    assert result.stdout == "fraud/tc@champion points at version 7 now; before: 6.\n"
    assert herdbook.client.arguments("set_alias") == {
        "model": "fraud/tc",
        "alias": "champion",
        "version": 7,
        "expect": 6,
        "reason": "passed the canary",
    }


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("@challenger", "fraud/tc@challenger"),
        (":2.1.0", "fraud/tc:2.1.0"),
        ("2.1.0", "fraud/tc:2.1.0"),
        ("fraud/tc@challenger", "fraud/tc@challenger"),
        ("models:/fraud/tc/7", "models:/fraud/tc/7"),
    ],
)
def test_an_alias_is_set_to_what_another_reference_names(
    herdbook: CommandLine, text: str, reference: str
) -> None:
    answers = {"resolve": Resolution("fraud/tc", 9), "set_alias": MOVED}
    assert herdbook("alias", "set", "fraud/tc@champion", text, **answers).exit_code == 0
    assert herdbook.client.arguments("resolve") == {"reference": reference}
    assert herdbook.client.arguments("set_alias")["version"] == 9


def test_an_alias_is_not_set_to_a_version_of_another_model(herdbook: CommandLine) -> None:
    answers = {"resolve": Resolution("other", 9)}
    assert herdbook("alias", "set", "m@a", "models:/other/9", **answers).exit_code == 2


@pytest.mark.parametrize(
    "command", [["set", "fraud/tc", "7"], ["rm", "fraud/tc:7"], ["rollback", "m"]]
)
def test_only_an_alias_is_taken_for_one(herdbook: CommandLine, command: list[str]) -> None:
    result = herdbook("alias", *command)
    assert result.exit_code == 2
    assert "MODEL@ALIAS" in result.stderr


def test_setting_what_is_so_already_says_so(herdbook: CommandLine) -> None:
    same = Alias("m", "a", 7, previous_version=7)
    assert "already" in herdbook("alias", "set", "m@a", "7", set_alias=same).stdout


def test_an_alias_is_rolled_back(herdbook: CommandLine) -> None:
    result = herdbook("alias", "rollback", "fraud/tc@champion", "--json", rollback_alias=MOVED)
    assert json.loads(result.stdout)["previous_version"] == 6


def test_an_alias_is_removed(herdbook: CommandLine) -> None:
    result = herdbook("alias", "rm", "m@a", "--json", delete_alias=6)
    assert json.loads(result.stdout) == {"model": "m", "alias": "a", "previous_version": 6}


def test_the_history_of_an_alias_tells_who_and_why(herdbook: CommandLine) -> None:
    move = AliasMove(
        revision=12,
        model="m",
        alias="champion",
        from_version=2,
        to_version=None,
        rollback=True,
        actor="ana",
        time=SOME_TIME,
        reason="error rate doubled",
    )
    shown = herdbook("alias", "history", "m@champion", alias_history=iter([move])).stdout
    for text in ("12", "champion", "removed", "ana", "(rollback) error rate doubled"):
        assert text in shown
    assert herdbook.client.arguments("alias_history") == {"model": "m", "alias": "champion"}


def test_an_alias_that_never_was_has_no_history(herdbook: CommandLine) -> None:
    answers = {
        "alias_history": lambda **_: iter([]),
        "list_aliases": [Alias("m", "champion", 1, SOME_TIME, "ana")],
    }
    result = herdbook("alias", "history", "m@champoin", **answers)
    assert result.exit_code == 3
    assert "did you mean m@champion?" in result.stderr
    assert herdbook("alias", "history", "m", **answers).exit_code == 0


def test_a_stage_is_set_and_the_archived_are_named(herdbook: CommandLine) -> None:
    change = StageChange(Version("m", 7, stage=Stage.PRODUCTION), (3, 5))
    arguments = ["stage", "set", "m:7", "production", "--archive-existing"]
    shown = herdbook(*arguments, set_stage=change).stdout
    assert shown == "m:7 is in production now.\nm:3 is archived.\nm:5 is archived.\n"
    assert herdbook.client.arguments("set_stage")["archive_existing"] is True


def test_an_unknown_stage_is_a_usage_error(herdbook: CommandLine) -> None:
    assert herdbook("stage", "set", "m:7", "prod").exit_code == 2


def test_several_tags_go_to_one_version_even_if_the_alias_moves_meanwhile(
    herdbook: CommandLine,
) -> None:
    answers = {"resolve": Resolution("m", 7), "set_tag": Version("m", 7, tags={"a": "1", "b": "2"})}
    shown = herdbook("tag", "set", "m@champion", "a=1", "b=2", **answers).stdout
    assert shown == "Tags of m:7: a=1, b=2\n"
    targets = [
        arguments["target"] for name, arguments in herdbook.client.calls if name == "set_tag"
    ]
    assert targets == ["m:7", "m:7"]


def test_tags_of_a_model_are_removed(herdbook: CommandLine) -> None:
    shown = herdbook("tag", "rm", "m", "a", delete_tag=Model("m")).stdout
    assert shown == "Tags of m: none\n"


def test_a_model_is_deleted_only_if_that_is_meant(herdbook: CommandLine) -> None:
    refused = herdbook("delete", "m", delete_model=Model("m"))
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert herdbook.client.calls == []
    assert herdbook("delete", "m", "--yes", "--force", delete_model=Model("m")).exit_code == 0
    assert herdbook.client.arguments("delete_model")["force"] is True


def test_a_version_is_deleted_by_whatever_names_it(herdbook: CommandLine) -> None:
    answers: dict[str, Any] = {"get_version": Version("m", 7), "delete_version": Version("m", 7)}
    result = herdbook("delete", "m@old", "-y", **answers)
    assert "Deleted m:7; herdbook restore m:7" in result.stdout
    assert herdbook.client.arguments("delete_version")["reference"] == "m:7"


def test_what_is_deleted_with_a_version_is_named(herdbook: CommandLine) -> None:
    answers: dict[str, Any] = {
        "get_version": Version("m", 7, aliases=("a", "b")),
        "delete_version": Version("m", 7),
    }
    result = herdbook("delete", "m:7", "-y", "--force", **answers)
    assert "Deleted m:7 and alias a and alias b;" in result.stdout
    assert "brings the version alone back" in result.stdout


def test_a_version_in_use_is_kept_and_the_way_out_is_named(herdbook: CommandLine) -> None:
    answers = {"get_version": Version("m", 7), "delete_version": errors.VersionInUse()}
    result = herdbook("delete", "m:7", "-y", **answers)
    assert result.exit_code == 4
    assert "--force" in result.stderr


def test_models_and_versions_are_restored(herdbook: CommandLine) -> None:
    assert herdbook("restore", "m", restore_model=Model("m")).stdout == "Restored m.\n"
    shown = herdbook("restore", "m:7", restore_version=Version("m", 7)).stdout
    assert shown == "Restored m:7.\n"


def test_a_version_is_labelled(herdbook: CommandLine) -> None:
    answers = {"get_version": Version("m", 7), "update_version": Version("m", 7, label="2.1.0")}
    result = herdbook("edit", "m@champion", "--label", "2.1.0", "--json", **answers)
    assert json.loads(result.stdout)["label"] == "2.1.0"
    arguments = herdbook.client.arguments("update_version")
    assert (arguments["reference"], arguments["label"]) == ("m:7", "2.1.0")
    assert (arguments["description"], arguments["expect_revision"]) == (None, None)


def test_a_model_has_no_label(herdbook: CommandLine) -> None:
    assert herdbook("edit", "m", "--label", "2.1.0").exit_code == 2


def editor_that(tmp_path: Path, statement: str) -> str:
    script = tmp_path / "editor.py"
    script.write_text(f"import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\n{statement}\n")
    return f"{sys.executable} {script}"


def test_a_description_is_changed_in_the_editor_unless_it_changed_meanwhile(
    herdbook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = editor_that(tmp_path, "file.write_text(file.read_text() + ' indeed\\n')")
    monkeypatch.setenv("EDITOR", editor)
    before = Version("m", 7, description="Good", revision=41)
    assert herdbook("edit", "m:7", get_version=before, update_version=before).exit_code == 0
    arguments = herdbook.client.arguments("update_version")
    assert (arguments["description"], arguments["expect_revision"]) == ("Good indeed", 41)


def test_an_editor_that_changes_nothing_changes_nothing(
    herdbook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor_that(tmp_path, "pass"))
    result = herdbook("edit", "m", get_model=Model("m", description="Good"))
    assert (result.exit_code, result.stderr) == (0, "Nothing changed.\n")
    assert [name for name, _ in herdbook.client.calls] == ["get_model"]


def test_without_options_and_editor_there_is_nothing_to_edit(herdbook: CommandLine) -> None:
    result = herdbook("edit", "m", get_model=Model("m"))
    assert result.exit_code == 2
