from __future__ import annotations

import errno
import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import grpc
import pytest

from herdbook import Cache, Client, TransferProgress, errors
from herdbook.transfer import CancelToken, destinations, mounts
from tests.support.fake_registry import FakeRegistry, Fault

BROKEN = Fault(grpc.StatusCode.UNAVAILABLE, "DRAINING")


class MemoryCache:
    """Chunks in a dictionary."""

    def __init__(self) -> None:
        self.chunks: dict[bytes, bytes] = {}
        self.directory = None

    def get(self, digest: bytes) -> bytes | None:
        return self.chunks.get(digest)

    def put(self, digest: bytes, data: bytes) -> None:
        assert type(data) is bytes
        self.chunks[digest] = data


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(autouse=True)
def pushed(client: Client, files: Path) -> None:
    client.push("m", files, capture=False)


def test_a_pull_brings_every_byte(client: Client, files: Path, tmp_path: Path) -> None:
    pulled = client.pull("m:1", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(files)
    assert (pulled.model, pulled.version, pulled.path) == ("m", 1, tmp_path / "out")
    assert pulled.digest == client.get_manifest("m:1").digest


def test_a_chunk_that_repeats_itself_is_fetched_once(
    registry: FakeRegistry, client: Client, files: Path, tmp_path: Path
) -> None:
    report = client.pull("m:1", tmp_path / "out").transfer
    assert len(registry.sent) == len(set(registry.sent))
    assert report.moved_bytes == sum(map(len, registry.chunks.values()))
    assert report.moved_bytes + report.saved_bytes == report.total_bytes


def test_what_the_cache_has_is_not_fetched(
    registry: FakeRegistry, files: Path, tmp_path: Path
) -> None:
    with Client(registry.server, cache=MemoryCache()) as client:
        client.pull("m:1", tmp_path / "one")
        registry.sent.clear()
        (files / "deep" / "small.txt").write_text("changed")
        client.push("m", files, capture=False)
        report = client.pull("m:2", tmp_path / "two").transfer
    assert registry.sent == [sha256(b"changed").digest()]
    assert report.moved_bytes == len("changed")
    assert tree(tmp_path / "two") == tree(files)


def test_a_damaged_cache_heals(registry: FakeRegistry, files: Path, tmp_path: Path) -> None:
    cache = MemoryCache()
    with Client(registry.server, cache=cache) as client:
        client.pull("m:1", tmp_path / "one")
        damaged = next(iter(cache.chunks))
        cache.chunks[damaged] = b"damaged"
        registry.sent.clear()
        client.pull("m:1", tmp_path / "two")
    assert registry.sent == [damaged]
    assert sha256(cache.chunks[damaged]).digest() == damaged
    assert tree(tmp_path / "two") == tree(files)


@pytest.mark.parametrize("after", [0, 2])
def test_a_download_that_breaks_asks_for_the_rest(
    registry: FakeRegistry, client: Client, tmp_path: Path, after: int
) -> None:
    registry.fail("DownloadChunks", *[replace(BROKEN, after_messages=after)] * 2)
    client.pull("m:1", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "model")
    assert registry.calls["DownloadChunks"] == 3
    assert len(registry.sent) == len(set(registry.sent))


def test_a_manifest_that_breaks_is_asked_again(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    registry.fail("GetManifest", replace(BROKEN, after_messages=2))
    client.pull("m:1", tmp_path / "out")
    assert registry.calls["GetManifest"] == 2


def test_a_bad_chunk_is_fetched_again(
    registry: FakeRegistry, client: Client, files: Path, tmp_path: Path
) -> None:
    registry.corrupt.extend([b"bad", b"bad"])
    client.pull("m:1", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(files)


def test_a_server_whose_bytes_were_wrong_is_asked_to_verify_what_it_sends(
    registry: FakeRegistry, client: Client
) -> None:
    registry.corrupt.append(b"bad")
    with client.open_file("m:1", "large.bin") as remote:
        remote.read(1)
    assert registry.verifying == [False, True]


def test_a_chunk_that_stays_bad_is_never_seen(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    for digest in registry.chunks:
        registry.chunks[digest] = b"bad"
    with pytest.raises(errors.ChecksumMismatch):
        client.pull("m:1", tmp_path / "out")
    assert names(tmp_path) == ["model"]


def test_a_chunk_that_is_lost_is_not_asked_for_again(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    registry.fail("DownloadChunks", Fault(grpc.StatusCode.DATA_LOSS, "CHUNK_LOST"))
    with pytest.raises(errors.ChunkLost):
        client.pull("m:1", tmp_path / "out")
    assert registry.calls["DownloadChunks"] == 1
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "C:\\x", "a\0b", "LARGE.bin"])
def test_a_server_cannot_make_a_pull_write_elsewhere(
    registry: FakeRegistry, client: Client, tmp_path: Path, path: str
) -> None:
    stored = registry.versions["m"][0]
    evil = type(stored.files[0])(path=path)
    stored.files.append(evil)
    with pytest.raises(errors.PathInvalid):
        client.pull("m:1", tmp_path / "out")
    assert names(tmp_path) == ["model"]


def test_a_manifest_without_its_digest_is_refused(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    registry.versions["m"][0].files.pop()
    with pytest.raises(errors.ResponseInvalid):
        client.pull("m:1", tmp_path / "out")


def test_an_empty_destination_is_used(client: Client, files: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    client.pull("m:1", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(files)


def test_the_working_directory_is_not_replaced(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(errors.DestinationUnusable, match="working directory"):
        client.pull("m", ".")
    (tmp_path / "empty" / "precious").touch()
    for destination in (".", "..", tmp_path):
        with pytest.raises(errors.DestinationUnusable, match="working directory"):
            client.pull("m", destination, overwrite=True)
    (tmp_path / "empty" / "precious").unlink()
    client.pull("m", "./below")
    assert names(tmp_path / "empty") == ["below"]


def test_a_working_directory_that_is_gone_is_in_nobody_s_way(
    client: Client, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    client.pull("m:1", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(files)
    with pytest.raises(errors.DestinationUnusable):
        client.pull("m:1", "out")


def test_the_cache_is_not_replaced(registry: FakeRegistry, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "home" / "cache")
    with Client(registry.server, cache=cache) as client:
        client.pull("m:1", tmp_path / "out")
        before = tree(tmp_path / "home")
        for destination in (tmp_path / "home", cache.directory, cache.directory / "versions"):
            with pytest.raises(errors.DestinationUnusable, match="the cache"):
                client.pull("m:1", destination, overwrite=True)
    assert before
    assert tree(tmp_path / "home") == before


def test_the_place_of_a_cache_that_is_yet_to_be_made_is_no_destination(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache")
    with (
        Client(registry.server, cache=cache) as client,
        pytest.raises(errors.DestinationUnusable, match="the cache"),
    ):
        client.pull("m:1", tmp_path / "cache" / "model")


def test_a_link_is_followed(client: Client, files: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "models").mkdir(parents=True)
    (tmp_path / "disk" / "models" / "old").touch()
    (tmp_path / "out").symlink_to("disk/models")
    with pytest.raises(errors.DestinationExists):
        client.pull("m:1", tmp_path / "out")
    assert client.pull("m:1", tmp_path / "out", overwrite=True).path == tmp_path / "out"
    assert (tmp_path / "out").is_symlink()
    assert tree(tmp_path / "disk" / "models") == tree(files)


def test_a_destination_that_holds_something_else_is_left_alone(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(errors.DestinationExists, match="overwriting"):
        client.pull("m:1", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(errors.DestinationUnusable, match="is a file"):
        client.pull("m:1", tmp_path / "file", overwrite=True)
    assert tree(tmp_path / "out") == {"precious": b"mine"}


def test_pulls_of_one_version_to_one_place_at_once_all_succeed(
    client: Client, files: Path, tmp_path: Path
) -> None:
    for number in range(5):
        destination = tmp_path / f"out {number}"
        with ThreadPoolExecutor(4) as threads:
            pulls = [threads.submit(client.pull, "m", destination) for _ in range(4)]
        assert {pull.result().path for pull in pulls} == {destination}
        assert tree(destination) == tree(files)


def test_overwriting_pulls_of_two_versions_to_one_place_all_succeed(
    client: Client, files: Path, tmp_path: Path
) -> None:
    (files / "deep" / "small.txt").write_text("changed")
    client.push("m", files, capture=False)
    references = ["m:1", "m:2", "m:1", "m:2"]
    for _ in range(5):
        with ThreadPoolExecutor(4) as threads:
            pulls = [
                threads.submit(client.pull, reference, tmp_path / "out", overwrite=True)
                for reference in references
            ]
        assert [pull.result().version for pull in pulls] == [1, 2, 1, 2]
        copies = [client.verify_copy(each, tmp_path / "out") for each in ("m:1", "m:2")]
        assert [copy.whole for copy in copies].count(True) == 1
        assert names(tmp_path) == ["model", "out"]


def test_a_destination_that_cannot_be_made_is_named(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for destination in (
        tmp_path / "file" / "out",
        Path("/proc/out"),
        tmp_path / ("x" * 256),
        tmp_path / "circle",
    ):
        with pytest.raises(
            errors.DestinationUnusable, match=f"^{re.escape(str(destination))} cannot be made: "
        ):
            client.pull("m:1", destination)
    with pytest.raises(errors.DestinationUnusable, match="is a mount point"):
        client.pull("m:1", "/proc", overwrite=True)
    for destination in (tmp_path / "a\0b", tmp_path / "a\0b" / "c"):
        with pytest.raises(errors.DestinationUnusable, match="null byte"):
            client.pull("m:1", destination)


def test_what_is_mounted_below_a_destination_is_not_replaced(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = tmp_path / "out" / "a volume"
    mounted.mkdir(parents=True)
    told = tmp_path / "mountinfo"
    escaped = str(mounted).replace(" ", r"\040")
    told.write_text(
        f"21 1 0:20 / / rw - ext4 /dev/vda rw\n22 21 0:20 /x {escaped} rw - ext4 /dev/vda rw\n"
    )
    monkeypatch.setattr(mounts, "_MOUNTS", told)
    for destination in (tmp_path / "out", mounted):
        with pytest.raises(errors.DestinationUnusable, match="a volume is a mount point"):
            client.pull("m:1", destination, overwrite=True)
    client.pull("m:1", tmp_path / "other")


def test_a_pull_of_what_is_there_removes_what_a_killed_one_left(
    client: Client, tmp_path: Path
) -> None:
    client.pull("m:1", tmp_path / "out")
    (tmp_path / f".out.{16 * 'a'}.herdbook-partial" / "half").mkdir(parents=True)
    (tmp_path / f".out.{16 * 'a'}.herdbook-lock").touch()
    client.pull("m:1", tmp_path / "out")
    assert names(tmp_path) == ["model", "out"]


def test_a_destination_may_have_the_longest_of_names(
    client: Client, files: Path, tmp_path: Path
) -> None:
    destination = tmp_path / ("名" * 80)
    client.pull("m:1", destination)
    assert tree(destination) == tree(files)


def test_a_destination_that_holds_the_version_is_verified_and_kept(
    registry: FakeRegistry, client: Client, files: Path, tmp_path: Path
) -> None:
    client.pull("m:1", tmp_path / "out")
    registry.sent.clear()
    assert client.pull("m:1", tmp_path / "out").transfer.moved_bytes == 0
    assert not registry.sent
    with (tmp_path / "out" / "zeros.bin").open("r+b") as damaged:
        damaged.write(b"!")
    with pytest.raises(errors.DestinationExists):
        client.pull("m:1", tmp_path / "out")
    client.pull("m:1", tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == tree(files)
    assert names(tmp_path) == ["model", "out"]


def test_an_overwrite_that_fails_leaves_the_old_files(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    registry.fail("DownloadChunks", Fault(grpc.StatusCode.DATA_LOSS, "CHUNK_LOST"))
    with pytest.raises(errors.ChunkLost):
        client.pull("m:1", tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == {"old": b"old"}


def test_an_overwrite_that_may_not_take_the_place_leaves_the_old_files(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    rename = Path.rename

    def fail_for_new(path: Path, target: Path) -> Path:
        if path.suffix == ".herdbook-partial":
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(errors.DestinationUnusable, match="Permission denied"):
        client.pull("m:1", tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == {"old": b"old"}
    assert names(tmp_path) == ["model", "out"]


def test_a_full_disk_is_an_error_of_the_tree(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(destinations.os, "pwrite", full)
    with pytest.raises(errors.LocalDiskFull):
        client.pull("m:1", tmp_path / "out")
    assert names(tmp_path) == ["model"]


def test_a_pull_that_cannot_fit_moves_nothing(
    registry: FakeRegistry, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = destinations.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(destinations.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(errors.LocalDiskFull, match="1,000 bytes left"):
        client.pull("m:1", tmp_path / "out")
    assert not registry.calls["DownloadChunks"]


def test_a_pull_that_is_given_up_leaves_nothing(client: Client, tmp_path: Path) -> None:
    cancel = CancelToken()
    with pytest.raises(errors.Cancelled):
        client._transfers.pull(
            "m:1", tmp_path / "out", progress=lambda _: cancel.cancel(), cancel=cancel
        )
    assert names(tmp_path) == ["model"]


def test_progress_ends_with_everything_done(client: Client, tmp_path: Path) -> None:
    seen: list[TransferProgress] = []
    client.pull("m:1", tmp_path / "out", progress=seen.append)
    assert seen[-1].done_bytes == seen[-1].total_bytes


def test_a_version_that_is_not_there_is_asked_for_once(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    with pytest.raises(errors.VersionNotFound):
        client.pull("m:9", tmp_path / "out")
    assert registry.calls["GetManifest"] == 1


def test_a_file_is_read_like_a_local_one(client: Client, files: Path) -> None:
    expected = (files / "large.bin").read_bytes()
    with client.open_file("m:1", "large.bin") as remote:
        assert remote.name == "large.bin"
        assert remote.read(10) == expected[:10]
        assert remote.seek(-7, io.SEEK_END) == len(expected) - 7
        assert remote.read() == expected[-7:]
        assert remote.read() == b""
        remote.seek(3_000_000)
        assert remote.read(5_000_000) == expected[3_000_000:8_000_000]
        assert remote.tell() == 8_000_000
        remote.seek(0)
        assert remote.read() == expected
    with pytest.raises(ValueError, match="closed"):
        remote.read()


def test_reading_a_byte_fetches_one_chunk(registry: FakeRegistry, client: Client) -> None:
    with client.open_file("m:1", "large.bin") as remote:
        remote.seek(5_000_000)
        remote.read(1)
    assert len(registry.sent) == 1


def test_reading_straight_on_fetches_several_chunks_at_a_time(
    registry: FakeRegistry, client: Client
) -> None:
    with client.open_file("m:1", "large.bin") as remote:
        while remote.read(100_000):
            pass
    assert registry.calls["DownloadChunks"] == 3


def test_bad_bytes_of_an_open_file_are_never_returned(
    registry: FakeRegistry, client: Client
) -> None:
    with client.open_file("m:1", "large.bin") as remote:
        for digest in registry.chunks:
            registry.chunks[digest] = b"bad"
        with pytest.raises(errors.ChecksumMismatch):
            remote.read(1)


def test_a_file_that_a_version_lacks_is_named(client: Client) -> None:
    with pytest.raises(errors.FileNotFound, match=r"m:1 has no file 'nope'"):
        client.open_file("m:1", "nope")
    with client.open_file("m:1", "deep/er/empty") as remote:
        assert remote.read() == b""
