"""Commands that find and show models and versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from herdbook.core.compare import compare_versions
from herdbook.core.values import (
    Alias,
    ChunkRef,
    Code,
    Dataset,
    Environment,
    File,
    Lineage,
    Manifest,
    Model,
    Signature,
    Stage,
    TensorSpec,
    Version,
    VersionManifest,
)
from tests.unit.cli.conftest import CommandLine

SOME_TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL = Model(
    "fraud/tc", description="Scores", tags={"team": "fraud"}, latest_version=7, version_count=6
)
VERSION = Version(
    "fraud/tc",
    7,
    label="2.1.0",
    stage=Stage.STAGING,
    aliases=("champion",),
    author="ana",
    metrics={"rmse": 6.123456789, "mae": 4.0, "r2": 0.5, "z": 1.0},
    params={"depth": "4"},
    signature=Signature(inputs=(TensorSpec("age", "float64", (-1,), optional=True),)),
    input_example={"age": 3},
    framework="scikit-learn",
    format="joblib",
    lineage=Lineage(
        run_id="run-1",
        code=Code("https://git.test/tc", "c0ffee", dirty=True),
        datasets=(Dataset("march", uri="s3://data/march"),),
        parents=("fraud/base:3",),
        training_seconds=12.5,
    ),
    environment=Environment(python="3.12.1", packages={"numpy": "2.0", "joblib": "1.4"}),
    digest="sha256:" + "ab" * 32,
    size_bytes=1_289_748,
    file_count=2,
    created_at=SOME_TIME,
    updated_at=SOME_TIME,
)


def test_models_are_a_table_for_people(herdbook: CommandLine) -> None:
    result = herdbook("models", list_models=[MODEL])
    assert result.exit_code == 0
    header, row = [line.split() for line in result.stdout.splitlines()]
    assert header[:3] == ["MODEL", "NEWEST", "VERSIONS"]
    assert row[:4] == ["fraud/tc", "7", "6", "team=fraud"]


def test_models_are_one_document_for_programs(herdbook: CommandLine) -> None:
    result = herdbook("models", "--json", list_models=iter([MODEL, Model("other")]))
    assert [model["name"] for model in json.loads(result.stdout)] == ["fraud/tc", "other"]


def test_filters_and_sort_keys_reach_the_client(herdbook: CommandLine) -> None:
    options = ["--filter", "metrics.rmse < 7", "-o", "metrics.rmse asc", "--deleted"]
    herdbook("versions", "fraud/tc", *options, list_versions=[])
    assert herdbook.client.arguments("list_versions") == {
        "model": "fraud/tc",
        "filter": "metrics.rmse < 7",
        "order_by": "metrics.rmse asc",
        "show_deleted": True,
    }


def test_people_see_fifty_and_are_told_of_more(herdbook: CommandLine) -> None:
    many = [Version("m", number) for number in range(1, 61)]
    result = herdbook("versions", list_versions=many)
    assert len(result.stdout.splitlines()) == 51
    assert "--limit 0 shows all" in result.stderr


def test_programs_see_all_unless_they_ask_for_fewer(herdbook: CommandLine) -> None:
    many = [Version("m", number) for number in range(1, 61)]
    assert len(json.loads(herdbook("versions", "--json", list_versions=many).stdout)) == 60
    few = herdbook("versions", "--json", "-n", "2", list_versions=many)
    assert [version["number"] for version in json.loads(few.stdout)] == [1, 2]


def test_a_limit_reads_no_further_than_it_must(herdbook: CommandLine) -> None:
    read = []

    def versions() -> object:
        for number in range(1, 100):
            read.append(number)
            yield Version("m", number)

    herdbook("versions", "-n", "3", list_versions=versions())
    assert read == [1, 2, 3, 4]


def test_a_row_tells_what_matters_of_a_version(herdbook: CommandLine) -> None:
    row = herdbook("versions", list_versions=[VERSION]).stdout.splitlines()[1]
    for text in (
        "fraud/tc:7",
        "2.1.0",
        "staging",
        "champion",
        "mae=4, r2=0.5, rmse=6.12346, …",
        "1.2 MiB",
        "ana",
    ):
        assert text in row


def test_long_rows_are_whole_where_there_is_no_terminal(herdbook: CommandLine) -> None:
    model = Model("m", description="word " * 200)
    assert "word " * 199 in herdbook("models", list_models=[model]).stdout


def test_a_bare_name_shows_the_model_with_its_aliases(herdbook: CommandLine) -> None:
    answers = {"get_model": MODEL, "list_aliases": [Alias("fraud/tc", "champion", 6)]}
    assert "champion → 6" in herdbook("show", "fraud/tc", **answers).stdout
    shown = json.loads(herdbook("show", "fraud/tc", "--json", **answers).stdout)
    assert shown["model"]["latest_version"] == 7
    assert shown["aliases"][0]["version"] == 6


def test_a_reference_shows_everything_of_a_version(herdbook: CommandLine) -> None:
    shown = herdbook("show", "fraud/tc@champion", get_version=VERSION).stdout
    for text in (
        "fraud/tc:7",
        "2.1.0",
        "age?: float64[-1]",
        '{"age": 3}',
        "https://git.test/tc c0ffee (with uncommitted changes)",
        "march s3://data/march",
        "fraud/base:3",
        "12.5 s",
        "2 (--packages lists them)",
        "2026-03-01",
        "sha256:" + "ab" * 32,
    ):
        assert text in shown


def test_packages_are_listed_on_request(herdbook: CommandLine) -> None:
    assert "numpy 2.0" in herdbook("show", "fraud/tc:7", "--packages", get_version=VERSION).stdout


def test_files_are_listed_on_request(herdbook: CommandLine) -> None:
    manifest = Manifest((File("weights.bin", (ChunkRef(b"\0" * 32, 1024),)),))
    answers = {
        "get_version": VERSION,
        "get_manifest": VersionManifest("fraud/tc", 7, "sha256:00", manifest),
    }
    assert "weights.bin" in herdbook("show", "fraud/tc@champion", "--files", **answers).stdout
    listed = json.loads(herdbook("show", "fraud/tc:7", "--files", "--json", **answers).stdout)
    assert listed["files"] == [{"path": "weights.bin", "size_bytes": 1024, "chunk_count": 1}]
    assert {
        arguments["reference"]
        for called, arguments in herdbook.client.calls
        if called == "get_manifest"
    } == {"fraud/tc:7"}


def test_a_comparison_shows_where_versions_differ(herdbook: CommandLine) -> None:
    comparison = compare_versions(
        [
            Version("m", 1, metrics={"rmse": 6.0}, author="ana"),
            Version("m", 2, metrics={"rmse": 7.0}, author="ana"),
        ]
    )
    differing = herdbook("compare", "m:1", "m:2", compare=comparison).stdout
    assert "metrics.rmse" in differing
    assert "author" not in differing
    assert "author" in herdbook("compare", "m:1", "m:2", "--all", compare=comparison).stdout
    document = json.loads(herdbook("compare", "m:1", "m:2", "--json", compare=comparison).stdout)
    assert document["versions"] == ["m:1", "m:2"]
    assert {"field": "metrics.rmse", "values": [6.0, 7.0], "differs": True} in document["fields"]


def test_one_version_has_nothing_to_differ_from(herdbook: CommandLine) -> None:
    assert herdbook("compare", "m:1").exit_code == 2
    assert herdbook.client.calls == []


@pytest.mark.parametrize("command", ["models", "versions"])
def test_finding_nothing_is_no_error(herdbook: CommandLine, command: str) -> None:
    result = herdbook(command, **{f"list_{command}": []})
    assert (result.exit_code, result.stdout) == (0, "")
    assert "found" in result.stderr
