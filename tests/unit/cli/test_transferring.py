"""Commands that move bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from herdbook import errors
from herdbook.core.values import (
    CopyReport,
    Dataset,
    GarbageReport,
    Lineage,
    LostChunk,
    PulledVersion,
    Signature,
    TensorSpec,
    TransferReport,
    VerificationReport,
    Version,
)
from tests.unit.cli.conftest import CommandLine

SOUND = VerificationReport(checked_count=6, checked_bytes=9 << 20, lost=())
LOST = VerificationReport(6, 9 << 20, lost=(LostChunk("0a" * 32, 2 << 20, ("m:1", "m:2")),))
REPORT = TransferReport(total_bytes=3 << 20, moved_bytes=1 << 20, saved_bytes=2 << 20, seconds=0.5)
PUSHED = Version("fraud/tc", 7, aliases=("champion",), transfer=REPORT)


def test_a_push_passes_on_all_it_is_told(herdbook: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "signature.json").write_text(
        '{"inputs": [{"name": "age", "dtype": "float64", "shape": [-1]}]}'
    )
    (tmp_path / "example.json").write_text('{"age": 3}')
    options = ["--metric", "rmse=6.1", "--param", "depth=4", "--tag", "team=fraud"]
    options += ["--alias", "champion", "--alias", "newest", "--label", "2.1.0"]
    options += ["--description", "Good", "--framework", "scikit-learn", "--format", "joblib"]
    options += [
        "--author",
        "ana",
        "--run-id",
        "r1",
        "--dataset",
        "march=s3://data",
        "--parent",
        "m:3",
    ]
    options += ["--training-time", "2m", "--signature", str(tmp_path / "signature.json")]
    options += ["--input-example", str(tmp_path / "example.json"), "--no-capture", "-m", "why"]
    result = herdbook("push", "fraud/tc", str(tmp_path), *options, push=PUSHED)
    assert result.exit_code == 0, result.output
    given = herdbook.client.arguments("push")
    assert given["progress"] is None
    assert given["lineage"] == Lineage(
        run_id="r1",
        datasets=(Dataset("march", uri="s3://data"),),
        parents=("m:3",),
        training_seconds=120.0,
    )
    assert given["signature"] == Signature(inputs=(TensorSpec("age", "float64", (-1,)),))
    expected = {
        "model": "fraud/tc",
        "path": tmp_path,
        "metrics": {"rmse": 6.1},
        "params": {"depth": "4"},
        "tags": {"team": "fraud"},
        "alias": ["champion", "newest"],
        "label": "2.1.0",
        "description": "Good",
        "framework": "scikit-learn",
        "format": "joblib",
        "author": "ana",
        "input_example": {"age": 3},
        "capture": False,
        "reason": "why",
    }
    assert {name: given[name] for name in expected} == expected


def test_a_push_tells_what_it_made_and_what_it_cost(herdbook: CommandLine) -> None:
    result = herdbook("push", "fraud/tc", ".", push=PUSHED)
    assert result.stdout == "Registered fraud/tc:7 (@champion).\n"
    assert "3.0 MiB in 0.50 s: 1.0 MiB moved, 2.0 MiB saved" in result.stderr


def test_a_push_tells_programs_the_same(herdbook: CommandLine) -> None:
    result = herdbook("push", "fraud/tc", ".", "--json", push=PUSHED)
    document = json.loads(result.stdout)
    assert (document["number"], document["transfer"]["saved_bytes"]) == (7, 2 << 20)
    assert result.stderr == ""


def test_files_that_stay_where_they_are_are_registered(herdbook: CommandLine) -> None:
    arguments = ["push", "m", "--source-uri", "s3://bucket/m", "--metric", "rmse=1"]
    assert herdbook(*arguments, register_reference=Version("m", 1)).exit_code == 0
    given = herdbook.client.arguments("register_reference")
    assert (given["source_uri"], given["metrics"]) == ("s3://bucket/m", {"rmse": 1.0})


@pytest.mark.parametrize("arguments", [["m"], ["m", ".", "--source-uri", "s3://bucket/m"]])
def test_a_push_takes_a_path_or_a_uri(herdbook: CommandLine, arguments: list[str]) -> None:
    assert herdbook("push", *arguments).exit_code == 2
    assert herdbook.client.calls == []


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"inputs": {}}',
        '{"inputs": [{"name": "x"}]}',
        '{"inputs": [{"dtype": "x", "shape": ["a"]}]}',
        '{"inputs": [{"dtype": "x", "size": 1}]}',
        '{"outcomes": []}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_signature_is_a_usage_error(
    herdbook: CommandLine, tmp_path: Path, content: str
) -> None:
    (tmp_path / "signature.json").write_text(content)
    result = herdbook("push", "m", ".", "--signature", str(tmp_path / "signature.json"))
    assert result.exit_code == 2
    assert herdbook.client.calls == []


def test_what_is_not_there_cannot_be_pushed(herdbook: CommandLine) -> None:
    assert herdbook("push", "m", "gone", push=errors.SourceNotFound("Not there.")).exit_code == 3


def test_a_pull_tells_where_the_files_are(herdbook: CommandLine, tmp_path: Path) -> None:
    pulled = PulledVersion(tmp_path / "m", "fraud/tc", 7, "sha256:00", REPORT)
    result = herdbook("pull", "fraud/tc@champion", str(tmp_path / "m"), "--overwrite", pull=pulled)
    assert result.stdout == f"fraud/tc:7 is in {tmp_path / 'm'}.\n"
    given = herdbook.client.arguments("pull")
    assert (given["destination"], given["overwrite"]) == (tmp_path / "m", True)
    document = json.loads(herdbook("pull", "fraud/tc", "m", "--json", pull=pulled).stdout)
    assert document["path"] == str(tmp_path / "m")


def test_garbage_is_counted_and_deleted_on_request(herdbook: CommandLine) -> None:
    found = GarbageReport(3, 5 << 20, deleted=False)
    assert "Would delete 3 chunks, 5.0 MiB" in herdbook("gc", collect_garbage=found).stdout
    assert herdbook.client.arguments("collect_garbage") == {"apply": False, "grace_seconds": None}
    nothing = GarbageReport(0, 0, deleted=False)
    assert "There is no garbage" in herdbook("gc", collect_garbage=nothing).stdout
    herdbook.client.calls.clear()
    deleted = GarbageReport(3, 5 << 20, deleted=True)
    result = herdbook("gc", "--apply", "--grace", "48h", "--json", collect_garbage=deleted)
    assert json.loads(result.stdout)["deleted"] is True
    assert herdbook.client.arguments("collect_garbage") == {
        "apply": True,
        "grace_seconds": 172_800.0,
    }
    expired = GarbageReport(0, 0, deleted=False, purged_version_count=2)
    assert "2 versions" in herdbook("gc", collect_garbage=expired).stdout
    assert "--apply does it" in herdbook("gc", collect_garbage=expired).stdout
    purged = GarbageReport(3, 5 << 20, deleted=True, purged_version_count=2)
    assert "Purged 2 versions" in herdbook("gc", "--apply", collect_garbage=purged).stdout


def test_what_the_registry_holds_is_verified(herdbook: CommandLine) -> None:
    result = herdbook("verify", "m@champion", verify=SOUND)
    assert (result.exit_code, result.stdout) == (0, "Verified 6 chunks, 9.0 MiB; none lost.\n")
    assert herdbook.client.arguments("verify") == {"reference": "m@champion", "progress": None}


def test_lost_chunks_are_listed_with_who_needs_them(herdbook: CommandLine) -> None:
    result = herdbook("verify", "--all", verify=LOST)
    assert result.exit_code == 9
    assert "1 lost" in result.stdout
    assert "m:1, m:2" in result.stdout
    document = json.loads(herdbook("verify", "--all", "--json", verify=LOST).stdout)
    assert document["lost"][0]["sha256"] == "0a" * 32


def test_a_directory_is_compared_with_a_version(herdbook: CommandLine, tmp_path: Path) -> None:
    arguments = ["verify", "m:1", "--path", str(tmp_path)]
    assert herdbook(*arguments, verify_copy=CopyReport((), (), ())).exit_code == 0
    different = CopyReport(missing=("a",), damaged=("b",), foreign=("c",))
    result = herdbook(*arguments, verify_copy=different)
    assert result.exit_code == 9
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["missing", "a"],
        ["damaged", "b"],
        ["foreign", "c"],
    ]
    assert json.loads(herdbook(*arguments, "--json").stdout)["damaged"] == ["b"]


@pytest.mark.parametrize("arguments", [[], ["m", "--all"], ["--all", "--path", "."]])
def test_it_must_be_clear_what_to_verify(herdbook: CommandLine, arguments: list[str]) -> None:
    assert herdbook("verify", *arguments).exit_code == 2
