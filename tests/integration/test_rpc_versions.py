"""What is said of models, versions and aliases comes back as it was said."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value

from herdbook.v1 import alias_pb2, event_pb2, fleet_pb2, model_pb2, version_pb2
from tests.support.server import ServerProcess
from tests.support.stubs import Stubs, details, refusal, unique

CHAMPION = version_pb2.AliasTarget(alias="champion")

OUTPUT_ONLY = (
    "number",
    "stage",
    "digest",
    "size_bytes",
    "file_count",
    "source_uri",
    "created_at",
    "updated_at",
    "revision",
    "aliases",
)


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    with Stubs(server.address) as made:
        yield made


@pytest.fixture
def model() -> str:
    return unique("said")


def example(value: object) -> Value:
    return json_format.ParseDict(value, Value())


def full_version(model: str) -> version_pb2.Version:
    """A version of which everything is said."""
    spec = version_pb2.TensorSpec(name="x", dtype="float32", shape=[-1, 4], optional=True)
    return version_pb2.Version(
        model=model,
        label="2.1.0-rc.1+build.7",
        description="# Größe\n\nwith *Markdown* 🐄",
        tags={"team": "fraud", "empty": ""},
        author="alice",
        params={"depth": "7"},
        metrics={"rmse": 6.25, "tiny": 5e-324, "negative": -0.0, "huge": 1.7e308},
        signature=version_pb2.Signature(inputs=[spec], outputs=[spec, spec], params=[spec]),
        input_example=example(
            {"rows": [[1, 2.5, None, True, "é"]], "": {}, "list": [], "large": 2**53 + 2.0}
        ),
        framework="scikit-learn",
        format="joblib",
        lineage=version_pb2.Lineage(
            run_id="run-7",
            run_url="https://runs.example/7",
            code=version_pb2.Code(repository="https://git.example/r", commit="a" * 40, dirty=True),
            datasets=[
                version_pb2.Dataset(name="rides", uri="s3://barn/rides", digest="d", version="3")
            ],
            parents=["team/base:3"],
            training_duration=Duration(seconds=3600, nanos=123_456_000),
        ),
        environment=version_pb2.Environment(
            python="3.11.7", packages={"numpy": "2.1"}, platform="Linux", hardware="8 CPUs"
        ),
    )


def register(stubs: Stubs, version: version_pb2.Version) -> version_pb2.Version:
    request = version_pb2.RegisterVersionRequest(version=version, source_uri="s3://barn/model")
    return stubs.versions.RegisterVersion(request).version


def said(version: version_pb2.Version) -> version_pb2.Version:
    """The version without what the server adds."""
    copy = version_pb2.Version()
    copy.CopyFrom(version)
    for field in OUTPUT_ONLY:
        copy.ClearField(field)
    return copy


def test_everything_that_is_said_of_a_version_comes_back(stubs: Stubs, model: str) -> None:
    given = full_version(model)
    registered = register(stubs, given)
    assert said(registered) == given
    read = stubs.versions.GetVersion(version_pb2.GetVersionRequest(reference=f"{model}:1")).version
    assert read == registered
    assert (read.number, read.stage, read.source_uri) == (
        1,
        version_pb2.STAGE_NONE,
        "s3://barn/model",
    )
    assert read.created_at == read.updated_at
    assert not read.HasField("deleted_at")


def test_what_is_not_said_of_a_version_stays_unset(stubs: Stubs, model: str) -> None:
    registered = register(stubs, version_pb2.Version(model=model))
    for field in ("signature", "input_example", "lineage", "environment"):
        assert not registered.HasField(field)
    assert registered.author.startswith("anonymous:")


def test_a_list_leaves_packages_out_and_nothing_else(stubs: Stubs, model: str) -> None:
    registered = register(stubs, full_version(model))
    request = version_pb2.ListVersionsRequest(model=model, filter="metrics.rmse < 7")
    (listed,) = stubs.versions.ListVersions(request).versions
    assert not listed.environment.packages
    registered.environment.ClearField("packages")
    assert listed == registered


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "moo", [], {}, [[[{"a": [None]}]]]])
def test_an_example_may_be_any_json(stubs: Stubs, model: str, value: object) -> None:
    given = version_pb2.Version(model=model, input_example=example(value))
    registered = register(stubs, given)
    assert json_format.MessageToDict(registered.input_example) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_example_that_json_does_not_have_is_refused(
    stubs: Stubs, model: str, number: float
) -> None:
    given = version_pb2.Version(model=model, input_example=Value(number_value=number))
    with pytest.raises(grpc.RpcError) as caught:
        register(stubs, given)
    assert refusal(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


@pytest.mark.parametrize(
    "duration", [Duration(seconds=-1), Duration(seconds=2**62), Duration(nanos=-1)]
)
def test_a_training_that_took_no_time_there_is_is_refused(
    stubs: Stubs, model: str, duration: Duration
) -> None:
    given = version_pb2.Version(
        model=model, lineage=version_pb2.Lineage(training_duration=duration)
    )
    with pytest.raises(grpc.RpcError) as caught:
        register(stubs, given)
    assert refusal(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


def test_an_update_changes_what_its_mask_names(stubs: Stubs, model: str) -> None:
    register(stubs, version_pb2.Version(model=model, description="before"))
    for paths, description, label in (
        (["label"], "before", "1.0.0"),
        (["description"], "after", "1.0.0"),
    ):
        request = version_pb2.UpdateVersionRequest(
            reference=f"{model}:1",
            version=version_pb2.Version(description="after", label="1.0.0"),
            update_mask=FieldMask(paths=paths),
        )
        updated = stubs.versions.UpdateVersion(request).version
        assert (updated.description, updated.label) == (description, label)
    request.update_mask.paths[:] = ["description"]
    request.expected_revision = updated.revision - 1
    request.version.description = "late"
    with pytest.raises(grpc.RpcError) as caught:
        stubs.versions.UpdateVersion(request)
    assert refusal(caught.value) == (grpc.StatusCode.ABORTED, "REVISION_CHANGED")
    assert details(caught.value).metadata["current_revision"] == str(updated.revision)


def test_an_alias_expected_not_to_exist_is_not_one_expected_anyhow(
    stubs: Stubs, model: str
) -> None:
    for _ in range(2):
        stubs.refer(model)
    request = alias_pb2.SetAliasRequest(model=model, alias="champion", version=1)
    request.expected_version = 0
    changed = stubs.aliases.SetAlias(request)
    assert (changed.alias.version, changed.previous_version) == (1, 0)
    request.version = 2
    with pytest.raises(grpc.RpcError) as caught:
        stubs.aliases.SetAlias(request)
    assert refusal(caught.value) == (grpc.StatusCode.ABORTED, "ALIAS_MOVED")
    assert details(caught.value).metadata["current_version"] == "1"
    request.ClearField("expected_version")
    assert stubs.aliases.SetAlias(request).previous_version == 1
    rolled = stubs.aliases.RollbackAlias(
        alias_pb2.RollbackAliasRequest(model=model, alias="champion")
    )
    assert (rolled.alias.version, rolled.previous_version) == (1, 2)
    moves = stubs.aliases.ListAliasMoves(alias_pb2.ListAliasMovesRequest(model=model)).moves
    assert [(move.from_version, move.to_version, move.rollback) for move in moves] == [
        (2, 1, True),
        (1, 2, False),
        (0, 1, False),
    ]
    deleted = stubs.aliases.DeleteAlias(alias_pb2.DeleteAliasRequest(model=model, alias="champion"))
    assert deleted.previous_version == 1


def test_every_change_is_an_event_with_who_and_why(stubs: Stubs, model: str) -> None:
    metadata = [("herdbook-actor", "alice")]
    reference = f"{model}:1"
    request = model_pb2.CreateModelRequest(model=model_pb2.Model(name=model), reason="why")
    stubs.models.CreateModel(request, metadata=metadata)
    stubs.refer(model, aliases=[CHAMPION])
    stubs.versions.SetStage(
        version_pb2.SetStageRequest(reference=reference, stage=version_pb2.STAGE_STAGING)
    )
    stubs.versions.UpdateVersionTags(
        version_pb2.UpdateVersionTagsRequest(reference=reference, set_tags={"a": "b"})
    )
    stubs.models.UpdateModelTags(
        model_pb2.UpdateModelTagsRequest(model=model, set_tags={"a": "b"}, delete_tags=["c"])
    )
    stubs.versions.DeleteVersion(version_pb2.DeleteVersionRequest(reference=reference, force=True))
    stubs.versions.RestoreVersion(version_pb2.RestoreVersionRequest(reference=reference))
    stubs.models.DeleteModel(model_pb2.DeleteModelRequest(model=model))
    stubs.models.RestoreModel(model_pb2.RestoreModelRequest(model=model))
    events = stubs.events.ListEvents(event_pb2.ListEventsRequest(model=model)).events
    kinds = [event_pb2.EventKind.Name(event.kind).removeprefix("EVENT_KIND_") for event in events]
    assert kinds == [
        "MODEL_CREATED",
        "VERSION_REGISTERED",
        "ALIAS_SET",
        "STAGE_SET",
        "VERSION_TAGGED",
        "MODEL_TAGGED",
        "ALIAS_DELETED",
        "VERSION_DELETED",
        "VERSION_RESTORED",
        "MODEL_DELETED",
        "MODEL_RESTORED",
    ]
    assert (events[0].actor, events[0].reason) == ("anonymous:alice", "why")


def test_pages_join_to_the_whole_list(stubs: Stubs, model: str) -> None:
    for _ in range(7):
        stubs.refer(model)
    numbers, token = [], ""
    while True:
        request = version_pb2.ListVersionsRequest(
            model=model, page_size=3, page_token=token, order_by="number"
        )
        page = stubs.versions.ListVersions(request)
        numbers += [version.number for version in page.versions]
        token = page.next_page_token
        if not token:
            break
    assert numbers == list(range(1, 8))


def test_replicas_are_listed_in_pages_and_counted(stubs: Stubs, model: str) -> None:
    stubs.refer(model, aliases=[CHAMPION])
    reference = f"{model}@champion"
    for number in range(5):
        report = fleet_pb2.ReplicaReport(
            replica=alias_pb2.Replica(id=f"replica-{number}", host="barn", name="pod"),
            reference=reference,
            state=fleet_pb2.REPLICA_STATE_SERVING if number else fleet_pb2.REPLICA_STATE_FAILED,
            version=1,
            serving_version=1 if number else 0,
            failure="" if number else "no such file",
        )
        stubs.fleet.ReportReplica(fleet_pb2.ReportReplicaRequest(report=report))
    ids, token = [], ""
    while True:
        request = fleet_pb2.ListReplicasRequest(reference=reference, page_size=2, page_token=token)
        page = stubs.fleet.ListReplicas(request)
        ids += [report.replica.id for report in page.reports]
        token = page.next_page_token
        if not token:
            break
    assert ids == [f"replica-{number}" for number in range(5)]
    counted = stubs.fleet.GetConvergence(fleet_pb2.GetConvergenceRequest(reference=reference))
    assert (counted.target_version, counted.replica_count) == (1, 5)
    assert (counted.converged_count, counted.failed_count, counted.pending_count) == (4, 1, 0)
    assert counted.failures[0].failure == "no such file"
    assert dict(counted.serving_counts) == {0: 1, 1: 4}
