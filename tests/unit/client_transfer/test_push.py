from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo

from herdbook import AsyncClient, Client, TransferProgress, errors
from herdbook.core.values import Version
from herdbook.transfer import CancelToken, sources
from tests.support.fake_registry import FakeRegistry, Fault

UNAVAILABLE = Fault(
    grpc.StatusCode.UNAVAILABLE,
    "STORE_UNAVAILABLE",
    details=(RetryInfo(retry_delay=Duration(nanos=1_000_000)),),
)
LARGE_CHUNKS = 5
ALL_CHUNKS = LARGE_CHUNKS + 1 + 2


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_a_push_sends_each_chunk_once(registry: FakeRegistry, client: Client, files: Path) -> None:
    version = client.push("team/task", files, metrics={"rmse": 6})
    assert version.reference == "team/task:1"
    assert len(registry.received) == len(set(registry.received)) == ALL_CHUNKS
    assert version.transfer is not None
    assert version.transfer.total_bytes == size_of(files) == version.size_bytes
    assert version.transfer.moved_bytes == sum(map(len, registry.chunks.values()))
    assert version.transfer.moved_bytes + version.transfer.saved_bytes == size_of(files)


def test_the_manifest_lists_every_file(registry: FakeRegistry, client: Client, files: Path) -> None:
    client.push("m", files)
    stored = registry.versions["m"][0].files
    assert [file.path for file in stored] == [
        "deep/er/empty",
        "deep/small.txt",
        "large.bin",
        "zeros.bin",
    ]
    for file in stored:
        joined = b"".join(registry.chunks[chunk.sha256] for chunk in file.chunks)
        assert joined == (files / file.path).read_bytes()


def test_a_second_push_sends_only_what_changed(
    registry: FakeRegistry, client: Client, files: Path
) -> None:
    client.push("m", files)
    registry.received.clear()
    (files / "deep" / "small.txt").write_text("changed")
    version = client.push("m", files)
    assert version.number == 2
    assert registry.received == [sha256(b"changed").digest()]
    assert version.transfer is not None
    assert version.transfer.moved_bytes == len("changed")


def test_a_single_file_is_a_version_too(
    registry: FakeRegistry, client: Client, files: Path
) -> None:
    client.push("m", files / "deep" / "small.txt")
    assert [file.path for file in registry.versions["m"][0].files] == ["small.txt"]


@pytest.mark.parametrize("after", [0, 1])
def test_an_upload_that_breaks_goes_on_with_what_is_missing(
    registry: FakeRegistry, client: Client, files: Path, after: int
) -> None:
    registry.fail("UploadChunks", *[replace(UNAVAILABLE, after_messages=after)] * 2)
    version = client.push("m", files)
    assert len(registry.received) == len(set(registry.received)) == ALL_CHUNKS
    assert version.transfer is not None
    assert version.transfer.moved_bytes == sum(map(len, registry.chunks.values()))


def test_a_registration_that_broke_makes_one_version(
    registry: FakeRegistry, client: Client, files: Path
) -> None:
    registry.fail("RegisterVersion", replace(UNAVAILABLE, effective=True))
    assert client.push("m", files).number == 1
    assert len(registry.versions["m"]) == 1


def test_a_registration_waits_for_a_server_as_long_as_the_upload_does(
    registry: FakeRegistry, client: Client, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CancelToken, "wait", lambda token, _: token.check())
    late = Fault(grpc.StatusCode.DEADLINE_EXCEEDED, effective=True)
    registry.fail("RegisterVersion", late, *[UNAVAILABLE] * 10)
    assert client.push("m", files).number == 1
    assert len(registry.versions["m"]) == 1


def test_chunks_that_went_missing_before_the_registration_are_sent_again(
    registry: FakeRegistry, client: Client, files: Path
) -> None:
    registry.fail("RegisterVersion", Fault(grpc.StatusCode.FAILED_PRECONDITION, "CHUNKS_MISSING"))
    version = client.push("m", files)
    assert version.number == 1
    assert registry.calls["RegisterVersion"] == 2
    assert version.transfer is not None
    assert version.transfer.moved_bytes == sum(map(len, registry.chunks.values()))
    assert version.transfer.moved_bytes + version.transfer.saved_bytes == size_of(files)


def test_a_file_that_has_changed_is_not_kept_open(files: Path) -> None:
    found = sources.find_sources(files / "large.bin")
    (files / "large.bin").write_bytes(b"more")
    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(errors.SourceChanged):
        sources.OpenSource(found[0])
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_an_upload_that_is_refused_is_not_repeated(
    registry: FakeRegistry, client: Client, files: Path
) -> None:
    registry.fail("UploadChunks", Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL"))
    with pytest.raises(errors.StoreFull):
        client.push("m", files / "deep")
    assert registry.calls["UploadChunks"] == 1
    assert not registry.versions["m"]


def test_a_file_that_grows_while_it_is_pushed_is_noticed(
    registry: FakeRegistry, client: Client, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sources.OpenSource.read

    def read_and_grow(opened: sources.OpenSource, offset: int, size_bytes: int) -> bytes:
        with opened.source.local.open("ab") as growing:
            growing.write(b"more")
        return read(opened, offset, size_bytes)

    monkeypatch.setattr(sources.OpenSource, "read", read_and_grow)
    with pytest.raises(errors.SourceChanged, match="changed while it was pushed"):
        client.push("m", files)
    assert not registry.versions["m"]


def test_links_are_followed(client: Client, registry: FakeRegistry, files: Path) -> None:
    (files / "link").symlink_to(files / "deep")
    client.push("m", files)
    assert "link/small.txt" in [file.path for file in registry.versions["m"][0].files]


def test_a_link_that_leads_back_is_refused(client: Client, files: Path) -> None:
    (files / "deep" / "back").symlink_to(files)
    with pytest.raises(errors.SourceInvalid, match="to a directory that holds it"):
        client.push("m", files)


@pytest.mark.parametrize(
    "sizes_gib", [pytest.param([129], id="one file"), pytest.param([126] * 7, id="all files")]
)
def test_what_is_too_large_is_refused_before_anything_is_sent(
    client: Client, registry: FakeRegistry, tmp_path: Path, sizes_gib: list[int]
) -> None:
    for number, size_gib in enumerate(sizes_gib):
        with (tmp_path / f"layer-{number}").open("wb") as file:
            file.truncate(size_gib * 1024**3)
    with pytest.raises(errors.SourceInvalid, match="at most"):
        client.push("m", tmp_path)
    assert not registry.chunks


def test_what_cannot_be_pushed_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.SourceNotFound):
        client.push("m", tmp_path / "nothing")
    with pytest.raises(errors.SourceInvalid, match="holds 0 files"):
        client.push("m", tmp_path)
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(errors.SourceNotFound):
        client.push("m", tmp_path)
    (tmp_path / "dangling").unlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.SourceInvalid, match="no regular file"):
        client.push("m", tmp_path)
    with pytest.raises(errors.SourceInvalid, match="embedded null"):
        client.push("m", "a\0b")


def test_a_file_that_may_not_be_read_is_no_file_that_changed(
    client: Client, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("herdbook.transfer.sources.os.open", refuse)
    with pytest.raises(errors.SourceInvalid, match="cannot be read: Permission denied"):
        client.push("m", files, capture=False)


def test_a_name_that_cannot_be_stored_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a\\b").touch()
    with pytest.raises(errors.PathInvalid):
        client.push("m", tmp_path)


def test_progress_ends_with_everything_done(client: Client, files: Path) -> None:
    seen: list[TransferProgress] = []
    client.push("m", files, progress=seen.append)
    assert seen[-1].done_bytes == seen[-1].total_bytes == size_of(files)


def test_a_callback_that_fails_ends_the_push(
    client: Client, registry: FakeRegistry, files: Path
) -> None:
    def fail(_: TransferProgress) -> None:
        raise KeyError("callback")

    with pytest.raises(KeyError):
        client.push("m", files / "deep", progress=fail)
    assert not registry.versions["m"]


def test_a_push_that_is_given_up_stops(registry: FakeRegistry, client: Client, files: Path) -> None:
    cancel = CancelToken()
    with pytest.raises(errors.Cancelled):
        client._transfers.push(
            Version(model="m", number=0), files, progress=lambda _: cancel.cancel(), cancel=cancel
        )
    assert not registry.versions["m"]
    assert not [t for t in threading.enumerate() if t.name.startswith("herdbook-transfer")]


def test_safetensors_files_are_cut_where_tensors_begin(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    tensor = b'{"dtype":"U8","shape":[%d],"data_offsets":[%d,%d]}'
    first, second = tensor % (300_000, 0, 300_000), tensor % (9, 300_000, 300_009)
    header = b'{"a":' + first + b',"b":' + second + b"}"
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(300_009))
    client.push("m", path)
    (file,) = registry.versions["m"][0].files
    assert [chunk.size_bytes for chunk in file.chunks] == [8 + len(header), 300_000, 9]


def test_a_broken_safetensors_file_is_cut_like_any_other(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 1000)
    (tmp_path / "short.safetensors").write_bytes(b"\xff")
    client.push("m", tmp_path)
    assert [[c.size_bytes for c in f.chunks] for f in registry.versions["m"][0].files] == [
        [1],
        [1000],
    ]


def test_a_push_that_has_come_somewhere_outlasts_an_outage(
    registry: FakeRegistry, client: Client, files: Path
) -> None:
    client.push("m", files / "deep")
    registry.fail("UploadChunks", UNAVAILABLE)
    registry.fail("FindMissingChunks", Fault(grpc.StatusCode.UNAVAILABLE, effective=True))
    assert client.push("m", files).number == 2


@pytest.mark.usefixtures("hurried")
def test_a_server_that_answered_a_call_is_waited_for_by_pushes_and_pulls(
    registry: FakeRegistry, client: Client, files: Path, tmp_path: Path
) -> None:
    list(client.list_models())
    registry.fail("FindMissingChunks", *[UNAVAILABLE] * 9)
    assert client.push("m", files).number == 1
    registry.fail("GetManifest", *[UNAVAILABLE] * 9)
    registry.fail("DownloadChunks", *[UNAVAILABLE] * 9)
    client.pull("m:1", tmp_path / "pulled")


@pytest.mark.usefixtures("hurried")
async def test_a_server_that_answered_in_an_event_loop_is_waited_for_by_pushes(
    registry: FakeRegistry, files: Path
) -> None:
    registry.fail("FindMissingChunks", *[UNAVAILABLE] * 9)
    async with AsyncClient(registry.server, cache=False) as client:
        assert [model async for model in client.list_models()] == []
        assert (await client.push("m", files)).number == 1


def test_a_push_to_nowhere_ends(registry: FakeRegistry, client: Client, files: Path) -> None:
    registry.fail("FindMissingChunks", *[UNAVAILABLE] * 7)
    with pytest.raises(errors.StoreUnavailable):
        client.push("m", files / "deep" / "small.txt")
    assert registry.calls["FindMissingChunks"] == 7


def test_a_bad_name_is_refused_before_any_file_is_read(client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.NameInvalid):
        client.push("no name", tmp_path / "absent")
    with pytest.raises(errors.AliasInvalid):
        client.push("m", tmp_path / "absent", alias="7")
    with pytest.raises(errors.FieldInvalid, match=r"metrics\['rmse'\] is 'x', which is no number"):
        client.push("m", tmp_path / "absent", metrics={"rmse": "x"})
