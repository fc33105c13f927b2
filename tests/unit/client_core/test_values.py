from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from herdbook import errors
from herdbook.core import wire
from herdbook.core.compare import compare_versions
from herdbook.core.operations import aliases, artifacts, models, versions
from herdbook.core.plain import plain
from herdbook.core.planning import Place, batches, place_chunks
from herdbook.core.values import (
    ChunkRef,
    Code,
    Dataset,
    Environment,
    EventKind,
    File,
    Lineage,
    Manifest,
    PulledVersion,
    Signature,
    Stage,
    TensorSpec,
    TransferReport,
    Version,
)
from herdbook.v1 import event_pb2, version_pb2

FULL = Version(
    model="team/task",
    number=0,
    label="2.1.0",
    description="d",
    tags={"team": "fraud"},
    author="ann",
    params={"depth": "3"},
    metrics={"rmse": 6.5},
    signature=Signature(
        inputs=(TensorSpec("x", "float32", (-1, 4)),),
        outputs=(TensorSpec("", "int64"),),
        params=(TensorSpec("t", "float64", (), optional=True),),
    ),
    input_example={"x": [1.0, None, "a", True]},
    framework="scikit-learn",
    format="joblib",
    lineage=Lineage(
        run_id="r",
        run_url="https://runs.example/r",
        code=Code("https://code.example/x.git", "abc", dirty=True),
        datasets=(Dataset("d", "s3://d", "md5:1", "2"),),
        parents=("team/base:3",),
        training_seconds=1.25,
    ),
    environment=Environment("3.11.7", {"numpy": "2.0"}, "Linux", "2 x CPU"),
)


def test_a_version_survives_the_wire() -> None:
    assert wire.version(wire.version_to_wire(FULL)) == FULL


def test_an_empty_version_survives_the_wire() -> None:
    bare = Version(model="m", number=0)
    assert wire.version(wire.version_to_wire(bare)) == bare


def test_an_empty_code_is_told_from_none() -> None:
    lineage = Lineage(code=Code())
    assert wire.lineage(wire.lineage_to_wire(lineage)) == lineage


def test_an_input_example_that_is_not_json_is_refused() -> None:
    with pytest.raises(errors.FieldInvalid):
        wire.version_to_wire(replace(FULL, input_example=object()))  # type: ignore[arg-type]


def test_every_stage_has_its_number() -> None:
    assert [wire.stage(wire.stage_to_wire(stage)) for stage in Stage] == list(Stage)
    assert wire.stage(version_pb2.STAGE_UNSPECIFIED) is Stage.NONE


def test_every_kind_of_event_is_known() -> None:
    for number in event_pb2.EventKind.values():
        kind = wire.event(event_pb2.Event(kind=number)).kind
        assert (kind is EventKind.UNKNOWN) == (number == 0)


def test_a_kind_of_event_that_came_later_is_unknown() -> None:
    later = event_pb2.Event.FromString(
        event_pb2.Event(revision=3).SerializeToString() + b"\x18\x63"
    )
    assert wire.event(later).kind is EventKind.UNKNOWN


def test_values_and_errors_can_be_pickled() -> None:
    error = errors.AliasMoved("no", details=errors.ErrorDetails(metadata={"current_version": "3"}))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (copy.message, copy.current_version) == ("no", 3)
    assert pickle.loads(pickle.dumps(FULL)) == FULL  # noqa: S301


def test_values_become_json() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    report = TransferReport(3, 2, 1, 0.5)
    pulled = PulledVersion(Path("x/y"), "m", 1, "sha256:0", report)
    record = plain(
        [replace(FULL, created_at=moment, stage=Stage.STAGING), pulled, b"\x01", float("inf")]
    )
    version, files, digest, endless = json.loads(json.dumps(record))
    assert version["created_at"] == "2026-01-02T03:04:05.000006Z"
    assert version["stage"] == "staging"
    assert version["lineage"]["code"]["dirty"] is True
    assert (files["path"], files["transfer"]["moved_bytes"]) == ("x/y", 2)
    assert (digest, endless) == ("01", "inf")


def test_a_comparison_lists_every_field_and_marks_the_differences() -> None:
    one = replace(FULL, number=1, metrics={"rmse": 6.0, "r2": 0.5})
    two = replace(FULL, number=2, metrics={"rmse": 7.0})
    comparison = compare_versions([one, two])
    rows = {row.field: row.values for row in comparison.fields}
    assert rows["metrics.rmse"] == (6.0, 7.0)
    assert rows["metrics.r2"] == (0.5, None)
    assert rows["environment.packages.numpy"] == ("2.0", "2.0")
    differing = [row.field for row in comparison.differences]
    assert differing == ["number", "metrics.r2", "metrics.rmse"]


def test_calls_that_could_take_effect_twice_are_not_repeated() -> None:
    gone = aliases.delete_alias("m", "a", expect=None, reason=None, request_id="r")
    moved = aliases.set_alias("m", "a", 1, expect=None, reason=None, request_id="r")
    edited = versions.update_version(
        "m:1", description="d", label=None, expect_revision=7, reason=None
    )
    collected = artifacts.collect_garbage(apply=True, grace_seconds=None)
    assert [o.repeatable for o in (gone, moved, edited, collected)] == [True, True, False, False]


def test_an_update_names_what_it_changes() -> None:
    operation = versions.update_version(
        "m:1", description="", label=None, expect_revision=None, reason="r"
    )
    assert isinstance(operation.request, version_pb2.UpdateVersionRequest)
    assert list(operation.request.update_mask.paths) == ["description"]


def test_a_stage_is_known_by_its_name() -> None:
    operation = versions.set_stage("m:1", "Production", archive_existing=False, reason=None)
    assert isinstance(operation.request, version_pb2.SetStageRequest)
    assert operation.request.stage == version_pb2.STAGE_PRODUCTION
    with pytest.raises(errors.FieldInvalid, match="choose from none, staging"):
        versions.set_stage("m:1", "prod", archive_existing=False, reason=None)


def test_bad_names_are_refused_before_a_call_is_made() -> None:
    with pytest.raises(errors.NameInvalid):
        models.get_model("a b", show_deleted=False)
    with pytest.raises(errors.AliasInvalid):
        aliases.alias_history("m", "latest", page_size=0)


def test_an_answer_that_cannot_be_read_is_an_error_of_the_tree() -> None:
    with pytest.raises(errors.ResponseInvalid):
        models.get_model("m", show_deleted=False).decode(b"\xff")


def test_batches_keep_the_order_and_the_bounds() -> None:
    refs = [ChunkRef(bytes([n]) * 32, size) for n, size in enumerate([3, 3, 3, 9, 1, 1, 1])]
    found = [[ref.size_bytes for ref in b] for b in batches(refs, max_bytes=6, max_count=2)]
    assert found == [[3, 3], [3], [9], [1, 1], [1]]


def test_a_chunk_that_repeats_itself_is_listed_once_with_all_its_places() -> None:
    one, two = ChunkRef(b"1" * 32, 10), ChunkRef(b"2" * 32, 5)
    manifest = Manifest((File("a", (one, two, one)), File("b", (two,))))
    placed = {chunk.ref: chunk.places for chunk in place_chunks(manifest)}
    assert placed == {one: (Place(0, 0), Place(0, 15)), two: (Place(0, 10), Place(1, 0))}
    assert manifest.size_bytes == 30


def test_every_error_has_a_sentence_and_a_reason() -> None:
    for reason, error in errors.BY_REASON.items():
        assert error().reason == reason
        assert str(error()).endswith(".")
        assert error.status == "UNKNOWN" or issubclass(error, errors.BY_STATUS[error.status])


def test_an_error_names_the_fields_to_blame() -> None:
    details = errors.ErrorDetails(violations=(errors.Violation("tags.a", "too long"),))
    assert str(errors.FieldInvalid("No.", details=details)) == "No. (tags.a: too long)"
