"""Manifests: paths that stay inside and apart, chunks that add up, digests that never change."""

from __future__ import annotations

import hashlib
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook_server.artifacts.manifests import (
    FILE_MAX_CHUNKS,
    MANIFEST_MAX_CHUNKS,
    MANIFEST_MAX_FILES,
    check_manifest,
    check_path,
    manifest_digest,
)
from herdbook_server.errors import ManifestInvalid, PathInvalid
from herdbook_server.ports.values import ChunkRef, File

ONE = ChunkRef(hashlib.sha256(b"a").digest(), 1)
TWO = ChunkRef(hashlib.sha256(b"bb").digest(), 2)


def files(*paths: str) -> list[File]:
    return [File(path, (ONE,)) for path in paths]


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "model.safetensors",
        "a/b/c",
        "...",
        ".hidden",
        "a b",
        "ab:c",
        "é",
        "日本/語",
        "x" * 255,
        "/".join(["x" * 255] * 4),
        "a/..b",
        "~",
    ],
)
def test_relative_normalised_paths_are_taken(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is empty"),
        ("/x", "is absolute"),
        ("../x", "segment '..'"),
        ("a/../b", "segment '..'"),
        ("a/.", "segment '.'"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("C:\\x", "backslash"),
        ("C:/x", "drive letter"),
        ("c:x", "drive letter"),
        ("a\\b", "backslash"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
        ("e\u0301", "NFC"),
        ("\ud800", "not valid Unicode"),
        ("x" * 256, "segment longer than 255"),
        ("é" * 128, "segment longer than 255"),
        ("/".join(["x" * 255] * 4) + "/", "empty segment"),
        ("/".join(["x" * 255] * 4) + "/x", "longer than 1024"),
    ],
)
def test_paths_that_leave_or_confuse_are_refused(path: str, problem: str) -> None:
    with pytest.raises(PathInvalid) as refusal:
        check_manifest([*files("ok"), File(path, ())])
    assert problem in refusal.value.message
    assert refusal.value.fields[0].field == "manifest.files[1].path"


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "a"),
        ("Model.bin", "model.BIN"),
        ("straße", "STRASSE"),
        ("É", "é"),
        ("ǆ", "ǅ"),
        ("d/x", "D/X"),
    ],
)
def test_paths_that_differ_in_case_alone_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(PathInvalid, match="the same where case is not told apart"):
        check_manifest(files("0", *paths, "z"))


@pytest.mark.parametrize(
    "paths",
    [("a", "a/b"), ("a/b/c", "a/B"), ("a", "a-", "a.b", "a/b/c/d"), ("a/b", "a")],
)
def test_a_file_where_another_needs_a_folder_is_refused(paths: tuple[str, ...]) -> None:
    given = files(*paths)
    random.Random(7).shuffle(given)
    with pytest.raises(PathInvalid, match="needs a folder there"):
        check_manifest(given)


def test_paths_that_only_look_alike_are_taken() -> None:
    check_manifest(files("a/b", "a-b", "a.b", "ab", "A/c", "a0/b"))


SEGMENTS = st.sampled_from(["a", "A", "b", "a.", "é", "É", "ß", "SS"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


@given(st.lists(PATHS, min_size=1, max_size=6))
def test_paths_are_taken_exactly_if_a_case_folding_file_system_can_hold_them(
    paths: list[str],
) -> None:
    folded = [path.casefold() for path in paths]
    same = len(set(folded)) < len(folded)
    inside = any(a != b and b.startswith(a + "/") for a in folded for b in folded)
    if same or inside:
        with pytest.raises(PathInvalid):
            check_manifest(files(*paths))
    else:
        check_manifest(files(*paths))


@given(st.text())
def test_any_text_is_a_path_or_refused_as_one(path: str) -> None:
    with suppress(PathInvalid):
        check_path(path)
        assert not set(path.split("/")) & {"", ".", ".."}


@pytest.mark.parametrize(
    ("chunks", "problem"),
    [
        ((ChunkRef(b"x" * 31, 1),), "has 32 bytes; this one has 31"),
        ((ChunkRef(ONE.digest, 0),), "1 to 2097152 bytes; this one has 0"),
        ((ChunkRef(ONE.digest, -1),), "this one has -1"),
        ((ChunkRef(ONE.digest, 2_097_153),), "this one has 2097153"),
        ((ONE, ChunkRef(ONE.digest, 2)), "with 1 and with 2 bytes"),
        ((ONE,) * (FILE_MAX_CHUNKS + 1), "65537 chunks are too many"),
    ],
)
def test_chunks_that_cannot_be_are_refused(chunks: tuple[ChunkRef, ...], problem: str) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        check_manifest([File("a", (ONE,)), File("b", chunks)])
    assert problem in refusal.value.message
    assert refusal.value.fields[0].field.startswith("manifest.files[1].chunks")


def test_a_manifest_is_bounded() -> None:
    check_manifest([File("empty", ()), File("full", (ONE,) * FILE_MAX_CHUNKS)])
    with pytest.raises(ManifestInvalid, match="at least one file"):
        check_manifest([])
    with pytest.raises(ManifestInvalid, match="files are too many"):
        check_manifest([File("a", ())] * (MANIFEST_MAX_FILES + 1))
    full = [File(f"{n}", (ONE,) * FILE_MAX_CHUNKS) for n in range(7)]
    assert 7 * FILE_MAX_CHUNKS > MANIFEST_MAX_CHUNKS
    with pytest.raises(ManifestInvalid, match="chunks are too many"):
        check_manifest(full)


def test_the_digest_is_the_one_the_contract_defines() -> None:
    listed = [File("é", (TWO,)), File("b/c", (ONE, TWO)), File("b", ())]
    encoded = (
        b"herdbook-manifest-v1\n"
        + (b"\0\0\0\1" + b"b" + b"\0\0\0\0")
        + (b"\0\0\0\3" + b"b/c" + b"\0\0\0\2")
        + (ONE.digest + b"\0\0\0\1" + TWO.digest + b"\0\0\0\2")
        + (b"\0\0\0\2" + b"\xc3\xa9" + b"\0\0\0\1" + TWO.digest + b"\0\0\0\2")
    )
    assert manifest_digest(listed) == hashlib.sha256(encoded).digest()
    assert manifest_digest(reversed(listed)) == manifest_digest(listed)


def test_paths_are_sorted_by_their_bytes() -> None:
    low, high = "\uffff", "\U00010000"
    assert low.encode() < high.encode()
    listed = files(high, low)
    ordered = b"herdbook-manifest-v1\n" + b"".join(
        len(path.encode()).to_bytes(4) + path.encode() + b"\0\0\0\1" + ONE.digest + b"\0\0\0\1"
        for path in (low, high)
    )
    assert manifest_digest(listed) == hashlib.sha256(ordered).digest()
