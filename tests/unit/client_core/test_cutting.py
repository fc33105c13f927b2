from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.core.cutting import cut_fixed, cut_safetensors, safetensors_header_bytes
from herdbook.core.manifests import MAX_CHUNK_BYTES

MIB = 1024 * 1024


def header_of(*sizes: int, metadata: str = "") -> bytes:
    entries: dict[str, object] = {"__metadata__": {"note": metadata}}
    begin = 0
    for number, size in enumerate(sizes):
        offsets = [begin, begin + size]
        entries[f"t{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": offsets}
        begin += size
    return json.dumps(entries).encode()


def cut(*sizes: int, metadata: str = "") -> list[int]:
    header = header_of(*sizes, metadata=metadata)
    cuts = cut_safetensors(header, 8 + len(header) + sum(sizes))
    assert cuts is not None
    return cuts


@given(st.integers(0, 20 * MIB))
def test_fixed_cuts_cover_the_file(size: int) -> None:
    cuts = list(cut_fixed(size))
    assert sum(cuts) == size
    assert all(0 < cut <= MAX_CHUNK_BYTES for cut in cuts)


@given(st.lists(st.integers(0, 5 * MIB), max_size=20))
def test_tensor_cuts_cover_the_file(sizes: list[int]) -> None:
    header = header_of(*sizes)
    total = 8 + len(header) + sum(sizes)
    cuts = cut_safetensors(header, total)
    assert cuts is not None
    assert sum(cuts) == total
    assert all(0 < cut <= MAX_CHUNK_BYTES for cut in cuts)


def test_a_longer_header_shifts_no_tensor() -> None:
    assert cut(5 * MIB, 3 * MIB)[1:] == cut(5 * MIB, 3 * MIB, metadata="x" * 1000)[1:]


def test_an_added_tensor_shifts_no_other() -> None:
    before, after = cut(3 * MIB, 5 * MIB), cut(3 * MIB, 700_000, 5 * MIB)
    assert after[1:] == [2 * MIB, MIB, 700_000, 2 * MIB, 2 * MIB, MIB]
    assert [size for size in after[1:] if size != 700_000] == before[1:]


def test_a_chunk_of_small_tensors_ends_where_a_large_one_begins() -> None:
    assert cut(1000, 2000, 300_000, 50)[1:] == [3000, 300_000, 50]


def test_small_tensors_share_chunks() -> None:
    assert cut(*[1000] * 50)[1:] == [50_000]


@pytest.mark.parametrize(
    "header",
    [
        b"", b"[]", b"null", b"{", b"\xff", b'{"a": 1}', b'{"a": {"data_offsets": [1, 9]}}',
        b'{"a": {"data_offsets": [0, 4]}}', b'{"a": {"data_offsets": "xy"}}',
        b'{"a": {"data_offsets": [9, 0]}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_header_that_does_not_describe_the_file_is_not_followed(header: bytes) -> None:
    assert cut_safetensors(header, 8 + len(header) + 9) is None


def test_a_header_longer_than_the_file_is_not_read() -> None:
    assert safetensors_header_bytes((50).to_bytes(8, "little"), 100) == 50
    assert safetensors_header_bytes((93).to_bytes(8, "little"), 100) is None
    assert safetensors_header_bytes((2**40).to_bytes(8, "little"), 2**50) is None
    assert safetensors_header_bytes(b"\x01", 1) is None
