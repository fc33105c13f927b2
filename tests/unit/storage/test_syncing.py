"""Where one syncfs may stand for many syncs."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from herdbook_server.storage.chunks import syncing
from herdbook_server.storage.chunks.syncing import can_sync_at_once

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="syncfs is of Linux")


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel says is mounted, by a kernel that tells all errors."""
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-18-cloud")
    monkeypatch.setattr(syncing, "_MOUNTS", tmp_path / "mountinfo")
    return tmp_path / "mountinfo"


def mounted(point: Path | str, kind: str) -> str:
    escaped = str(point).replace(" ", "\\040")
    return f"36 35 98:0 / {escaped} rw,noatime master:1 - {kind} /dev/root rw,errors=continue\n"


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs"])
def test_a_file_system_that_keeps_the_promise_is_synced_at_once(
    mounts: Path, tmp_path: Path, kind: str
) -> None:
    mounts.write_text(mounted("/", kind))
    assert can_sync_at_once(tmp_path)


@pytest.mark.parametrize("kind", ["overlay", "fuse.s3fs", "nfs4", "extra"])
def test_any_other_file_system_is_not(mounts: Path, tmp_path: Path, kind: str) -> None:
    mounts.write_text(mounted("/", kind))
    assert not can_sync_at_once(tmp_path)


def test_the_innermost_mount_decides_whatever_its_name(mounts: Path, tmp_path: Path) -> None:
    inner = tmp_path / "a disk of my own" / "data"
    inner.mkdir(parents=True)
    mounts.write_text(mounted("/", "ext4") + mounted(inner.parent, "fuse.s3fs"))
    assert not can_sync_at_once(inner)
    assert can_sync_at_once(tmp_path)


def test_of_two_mounts_at_one_place_the_later_is_seen(mounts: Path, tmp_path: Path) -> None:
    mounts.write_text(mounted(tmp_path, "overlay") + mounted(tmp_path, "tmpfs"))
    assert can_sync_at_once(tmp_path)


def test_a_mount_whose_name_is_no_text_harms_nobody(mounts: Path, tmp_path: Path) -> None:
    other = b"37 35 98:1 / /mnt/\xff\r rw - nfs4 host rw\n"
    mounts.write_bytes(mounted("/", "ext4").encode() + other)
    assert can_sync_at_once(tmp_path)


def test_a_kernel_that_keeps_errors_to_itself_is_not_trusted(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts.write_text(mounted("/", "ext4"))
    monkeypatch.setattr(platform, "release", lambda: "5.16.20")
    assert not can_sync_at_once(tmp_path)
    monkeypatch.setattr(platform, "release", lambda: "5.17.0-rc1")
    assert can_sync_at_once(tmp_path)


def test_where_the_mounts_cannot_be_read_each_file_is_synced(mounts: Path, tmp_path: Path) -> None:
    assert not mounts.exists()
    assert not can_sync_at_once(tmp_path)
