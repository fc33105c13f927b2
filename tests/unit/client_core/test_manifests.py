from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.core.manifests import check_path, digest_of, manifest_of
from herdbook.core.values import ChunkRef, File
from herdbook.errors import ManifestInvalid, PathInvalid


def file_of(path: str, *contents: bytes) -> File:
    return File(path, tuple(ChunkRef(hashlib.sha256(c).digest(), len(c)) for c in contents))


@pytest.mark.parametrize(
    "path",
    [
        "", "/x", "../x", "a/../b", "./a", "a//b", "a/", "C:\\x", "C:x", "a\\b", "a\0b", "a\nb",
        "e\u0301", "\ud800", "a/" + "b" * 256, "/".join(["a" * 200] * 6), "a\x7fb",
    ],
)  # fmt: skip
def test_a_path_that_must_not_be_written_is_refused(path: str) -> None:
    with pytest.raises(PathInvalid):
        check_path(path)


@pytest.mark.parametrize("path", ["a", "a/b.c", "\u00e9/x y", "...", "ab:c", "日本/語"])
def test_a_path_of_a_file_is_taken(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("a", "A"), ("x/é", "x/É"), ("a", "a/b"), ("A", "a/b/c"), ("ß", "ss")]
)
def test_two_files_never_share_a_place(paths: tuple[str, str]) -> None:
    for order in (paths, paths[::-1]):
        with pytest.raises(PathInvalid):
            manifest_of(file_of(path, b"x") for path in order)


def test_a_manifest_without_files_is_refused() -> None:
    with pytest.raises(ManifestInvalid):
        manifest_of([])


@pytest.mark.parametrize(
    "ref", [ChunkRef(b"x" * 31, 1), ChunkRef(b"x" * 32, 0), ChunkRef(b"x" * 32, 2**21 + 1)]
)
def test_what_is_no_chunk_is_refused(ref: ChunkRef) -> None:
    with pytest.raises(ManifestInvalid):
        manifest_of([File("a", (ref,))])


def test_one_chunk_cannot_have_two_sizes() -> None:
    with pytest.raises(ManifestInvalid):
        manifest_of([File("a", (ChunkRef(b"x" * 32, 1), ChunkRef(b"x" * 32, 2)))])


def test_the_digest_is_that_of_the_contract() -> None:
    files = [file_of("b/ä", b"one", b"two"), file_of("a")]
    expected = hashlib.sha256(b"herdbook-manifest-v1\n")
    expected.update(struct.pack(">I", 1) + b"a" + struct.pack(">I", 0))
    expected.update(struct.pack(">I", 4) + "b/ä".encode() + struct.pack(">I", 2))
    for contents in (b"one", b"two"):
        expected.update(hashlib.sha256(contents).digest() + struct.pack(">I", 3))
    assert digest_of(manifest_of(files)) == f"sha256:{expected.hexdigest()}"


@given(
    st.lists(
        st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3}){0,2}\.x", fullmatch=True), min_size=1, unique=True
    )
)
def test_the_order_in_which_files_are_given_does_not_matter(paths: list[str]) -> None:
    one = manifest_of(file_of(path, path.encode()) for path in paths)
    other = manifest_of(file_of(path, path.encode()) for path in reversed(paths))
    assert one == other
    assert digest_of(one) == digest_of(other)
    assert one.size_bytes == sum(map(len, paths))
