"""Both clients against a real server: every method does what it says."""

from __future__ import annotations

import asyncio
import os
import unicodedata
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import herdbook
from herdbook import AsyncClient, Client, EventKind, Replica, ReplicaReport, ReplicaState, errors
from tests.support.server import ServerProcess


class Awaited:
    """An AsyncClient with the face of a Client, so that one test drives both."""

    def __init__(self, aclient: AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self._aclient = aclient
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            made = getattr(self._aclient, name)(*args, **kwargs)
            if isinstance(made, AsyncIterator):
                return self._iterated(made)
            return self._loop.run_until_complete(made)

        return call

    def _iterated(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(items.aclose())  # type: ignore[attr-defined]


@pytest.fixture(params=["Client", "AsyncClient"])
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Any]:
    if request.param == "Client":
        with Client(server.address, cache=False) as made:
            yield made
        return
    loop = asyncio.new_event_loop()
    aclient = AsyncClient(server.address, cache=False)
    yield Awaited(aclient, loop)
    loop.run_until_complete(aclient.close())
    loop.close()


@pytest.fixture
def model() -> str:
    return f"team/{uuid.uuid4().hex}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "sub").mkdir(parents=True)
    (directory / "weights.bin").write_bytes(bytes(range(256)) * 20_000)
    (directory / "sub" / "notes.txt").write_text("hello")
    return directory


def test_what_is_pushed_can_be_read_found_and_pulled(
    client: Any, model: str, source: Path, tmp_path: Path
) -> None:
    version = client.push(
        model,
        source,
        metrics={"rmse": 6.5},
        params={"depth": 3},
        tags={"team": "fraud"},
        label="2.1.0",
        alias=["champion", "challenger"],
        input_example={"x": [1.0, 2.0]},
        signature=herdbook.Signature(inputs=(herdbook.TensorSpec("x", "float32", (-1, 2)),)),
        lineage=herdbook.Lineage(run_id="r1", training_seconds=1.5),
        reason="first",
    )
    assert (version.number, version.aliases) == (1, ("challenger", "champion"))
    for pick in ("{}@champion", "{}:1", "{}:2.1.0", "{}", "models:/{}/1"):
        reference = pick.format(model)
        assert client.resolve(reference).reference == version.reference
        assert client.get_version(reference) == version
    found = list(client.list_versions(model, filter='metrics.rmse < 7 AND tags.team = "fraud"'))
    assert [v.number for v in found] == [1]
    assert not list(client.list_versions(model, filter="metrics.rmse < 6"))
    pulled = client.pull(f"{model}@champion", tmp_path / "out")
    assert pulled.digest == version.digest
    assert (tmp_path / "out" / "sub" / "notes.txt").read_text() == "hello"
    assert (tmp_path / "out" / "weights.bin").read_bytes() == (source / "weights.bin").read_bytes()


def test_models_live_die_and_come_back(client: Any, model: str) -> None:
    made = client.create_model(model, description="d", tags={"a": "1"}, reason="r")
    assert client.get_model(model) == made
    with pytest.raises(errors.ModelExists):
        client.create_model(model)
    assert client.update_model(model, description="new", expect_revision=made.revision)
    with pytest.raises(errors.RevisionChanged):
        client.update_model(model, description="newer", expect_revision=made.revision)
    assert client.set_tag(model, "b", "2").tags == {"a": "1", "b": "2"}
    assert client.delete_tag(model, "a").tags == {"b": "2"}
    assert client.delete_model(model).deleted_at is not None
    with pytest.raises(errors.ModelNotFound):
        client.get_model(model)
    assert client.get_model(model, show_deleted=True).description == "new"
    assert client.restore_model(model).deleted_at is None
    assert model in [found.name for found in client.list_models(filter=f'name = "{model}"')]


def test_versions_are_described_staged_deleted_and_restored(client: Any, model: str) -> None:
    for _ in range(2):
        client.register_reference(model, "s3://bucket/model", capture=False)
    client.set_stage(f"{model}:1", "production")
    change = client.set_stage(f"{model}:2", "production", archive_existing=True)
    assert (change.version.stage, change.archived_versions) == ("production", (1,))
    assert client.set_tag(f"{model}:1", "k", "v").tags == {"k": "v"}
    edited = client.update_version(f"{model}:1", description="d", label="1.0.0")
    assert (edited.description, edited.label) == ("d", "1.0.0")
    with pytest.raises(errors.LabelExists):
        client.update_version(f"{model}:2", label="1.0.0")
    with pytest.raises(errors.LabelImmutable):
        client.update_version(f"{model}:1", label="1.0.1")
    client.set_alias(model, "champion", 1)
    with pytest.raises(errors.VersionInUse):
        client.delete_version(f"{model}:1")
    assert client.delete_version(f"{model}:1", force=True).deleted_at is not None
    assert client.restore_version(f"{model}:1").deleted_at is None
    differing = {row.field for row in client.compare([f"{model}:1", f"{model}:2"]).differences}
    assert {"number", "label", "description", "tags.k", "stage"} <= differing


def test_aliases_move_by_compare_and_set_and_keep_their_history(client: Any, model: str) -> None:
    for _ in range(2):
        client.register_reference(model, "s3://bucket/model", capture=False)
    assert client.set_alias(model, "champion", 1, expect=0).previous_version is None
    assert client.set_alias(model, "champion", 2, expect=1, reason="why").previous_version == 1
    with pytest.raises(errors.AliasMoved) as caught:
        client.set_alias(model, "champion", 1, expect=1)
    assert caught.value.current_version == 2
    assert client.rollback_alias(model, "champion").version == 1
    assert [(alias.alias, alias.version) for alias in client.list_aliases(model)] == [
        ("champion", 1)
    ]
    assert client.delete_alias(model, "champion", expect=1) == 1
    moves = [
        (move.from_version, move.to_version, move.rollback, move.reason)
        for move in client.alias_history(model, "champion", page_size=1)
    ]
    assert moves == [
        (1, None, False, ""),
        (2, 1, True, ""),
        (1, 2, False, "why"),
        (None, 1, False, ""),
    ]
    kinds = [event.kind for event in client.list_events(model, page_size=2)]
    assert kinds.count(EventKind.ALIAS_SET) == 3
    assert kinds[-1] is EventKind.ALIAS_DELETED


def test_a_watch_sees_an_alias_appear_move_and_go(client: Any, model: str) -> None:
    client.register_reference(model, "s3://bucket/model", capture=False)
    states = client.watch(f"{model}@champion")
    assert next(states).missing_reason == "ALIAS_NOT_FOUND"
    client.set_alias(model, "champion", 1)
    assert next(states).resolution.version == 1
    client.delete_alias(model, "champion")
    assert next(states).missing_reason == "ALIAS_NOT_FOUND"
    states.close()


def test_a_replica_is_counted(client: Any, model: str) -> None:
    client.register_reference(model, "s3://bucket/model", alias="champion", capture=False)
    reference = f"{model}@champion"
    replica = Replica(uuid.uuid4().hex, "host", "pod")
    client.report_replica(ReplicaReport(replica, reference, ReplicaState.FAILED, 1, failure="no"))
    convergence = client.get_convergence(reference)
    assert (convergence.target_version, convergence.failed_count) == (1, 1)
    assert not convergence.converged
    assert [report.failure for report in client.list_replicas(reference)] == ["no"]
    client.report_replica(ReplicaReport(replica, reference, ReplicaState.SERVING, 1, 1))
    assert client.get_convergence(reference).converged


def test_a_server_tells_what_it_is(client: Any) -> None:
    info = client.get_server_info()
    assert info.software_version == herdbook.__version__
    assert info.max_chunk_bytes == 2**21
    assert not client.collect_garbage().deleted


def test_a_version_without_files_cannot_be_pulled(client: Any, model: str, tmp_path: Path) -> None:
    client.register_reference(model, "s3://bucket/model", capture=False)
    with pytest.raises(errors.NoManifest):
        client.pull(model, tmp_path / "out")
    with pytest.raises(errors.VersionNotFound, match=f"{model}:9"):
        client.get_version(f"{model}:9")


def test_what_was_pushed_is_verified_where_it_is_and_where_it_was_pulled_to(
    client: Any, model: str, tmp_path: Path
) -> None:
    pushed, pulled = tmp_path / "pushed", tmp_path / "pulled"
    (pushed / "deep").mkdir(parents=True)
    (pushed / "deep/a.bin").write_bytes(b"weights" * 500_000)
    (pushed / "b.txt").write_text(model)
    client.push(model, pushed)
    told: list[herdbook.VerificationProgress] = []
    report = client.verify(f"{model}:1", progress=told.append)
    assert (report.checked_bytes, report.lost) == (3_500_000 + len(model), ())
    assert told[-1].checked_bytes == told[-1].total_bytes == report.checked_bytes
    assert client.verify().checked_count >= report.checked_count
    client.pull(f"{model}:1", pulled)
    assert client.verify_copy(model, pulled).whole
    (pulled / "b.txt").write_text("x")
    (pulled / "deep/a.bin").rename(pulled / "c")
    assert client.verify_copy(model, pulled) == herdbook.CopyReport(
        missing=("deep/a.bin",), damaged=("b.txt",), foreign=("c",)
    )
    with pytest.raises(errors.SourceNotFound):
        client.verify_copy(model, tmp_path / "nowhere")


def test_a_directory_is_verified_as_a_push_finds_it(
    client: Any, model: str, tmp_path: Path
) -> None:
    pushed, linked = tmp_path / "pushed", tmp_path / "linked"
    for directory in (pushed, linked, pushed / "empty"):
        directory.mkdir()
    (pushed / "cafe\N{COMBINING ACUTE ACCENT}.bin").write_bytes(b"weights")
    (linked / "config").write_bytes(b"{}")
    (pushed / "deep").symlink_to(linked)
    client.push(model, pushed)
    assert client.verify_copy(model, pushed).whole
    os.mkfifo(pushed / "pipe")
    (pushed / "nowhere").symlink_to(tmp_path / "nowhere")
    report = client.verify_copy(model, pushed)
    assert report == herdbook.CopyReport((), (), ("nowhere", "pipe"))
    (pushed / "deep/back").symlink_to(pushed)
    with pytest.raises(errors.SourceInvalid):
        client.verify_copy(model, pushed)


def test_a_copy_with_names_of_another_form_is_not_the_version_in_place(
    client: Any, model: str, tmp_path: Path
) -> None:
    pushed = tmp_path / "pushed"
    pushed.mkdir()
    (pushed / "cafe\N{COMBINING ACUTE ACCENT}.bin").write_bytes(b"weights")
    client.push(model, pushed)
    with pytest.raises(errors.DestinationExists):
        client.pull(model, pushed)
    client.pull(model, pushed, overwrite=True)
    assert (pushed / "caf\N{LATIN SMALL LETTER E WITH ACUTE}.bin").read_bytes() == b"weights"


def test_a_file_whose_name_differs_in_its_form_alone_is_foreign(
    client: Any, model: str, tmp_path: Path
) -> None:
    pushed = tmp_path / "pushed"
    pushed.mkdir()
    composed, decomposed = (unicodedata.normalize(form, "café.bin") for form in ("NFC", "NFD"))
    (pushed / composed).write_bytes(b"weights")
    client.push(model, pushed)
    (pushed / decomposed).write_bytes(b"others")
    report = client.verify_copy(model, pushed)
    assert (report.missing, report.damaged, report.foreign) == ((), (), (decomposed,))
    with pytest.raises(errors.DestinationExists):
        client.pull(model, pushed)


def test_a_pipe_in_the_place_of_a_file_is_damage_and_not_waited_for(
    client: Any, model: str, tmp_path: Path
) -> None:
    (tmp_path / "pushed").mkdir()
    file = tmp_path / "pushed/empty"
    file.touch()
    client.push(model, tmp_path / "pushed")
    file.unlink()
    os.mkfifo(file)
    assert client.verify_copy(model, tmp_path / "pushed").damaged == ("empty",)
    client.pull(model, tmp_path / "pushed", overwrite=True)
    assert file.read_bytes() == b""
