from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.core.cutting import cut_file
from herdbook.core.cutting.parts import MAX_HEADER_BYTES, cut_fixed
from herdbook.core.manifests import MAX_CHUNK_BYTES, MAX_FILE_CHUNKS

MIB = 1024 * 1024
LARGE = 3 * MIB + 100
Maker = Callable[[dict[str, bytes]], bytes]


def cut(path: str, data: bytes) -> list[int]:
    def read(offset: int, size: int) -> bytes:
        assert offset >= 0
        assert offset + size <= len(data)
        return data[offset : offset + size]

    cuts = cut_file(path, len(data), read)
    assert sum(cuts) == len(data)
    assert all(0 < size <= MAX_CHUNK_BYTES for size in cuts)
    return cuts


def chunks(path: str, data: bytes) -> Iterator[bytes]:
    begin = 0
    for size in cut(path, data):
        yield data[begin : begin + size]
        begin += size


def safetensors(tensors: dict[str, bytes], *, note: str = "") -> bytes:
    entries: dict[str, object] = {"__metadata__": {"note": note}}
    begin = 0
    for name, data in tensors.items():
        offsets = [begin, begin + len(data)]
        entries[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": offsets}
        begin += len(data)
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + b"".join(tensors.values())


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def gguf(tensors: dict[str, bytes], *, alignment: int = 32, version: int = 3) -> bytes:
    words = [text(word) for word in (b"moo", b"", b"hay")]
    keys = [
        text(b"general.name") + struct.pack("<I", 8) + text(b"calf"),
        text(b"general.alignment") + struct.pack("<II", 4, alignment),
        text(b"weights") + struct.pack("<IIQ", 9, 6, 5) + bytes(20),
        text(b"words") + struct.pack("<IIQ", 9, 8, len(words)) + b"".join(words),
        text(b"rope") + struct.pack("<If", 6, 0.5),
    ]
    table, body = b"", b""
    for name, data in tensors.items():
        table += text(name.encode()) + struct.pack("<IQQIQ", 2, len(data), 1, 0, len(body))
        body += data + bytes(-len(data) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + table
    return head + bytes(-len(head) % alignment) + body


def zipped(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


FORMATS = pytest.mark.parametrize(
    ("path", "make"),
    [("m.safetensors", safetensors), ("m.gguf", gguf), ("m.pt", zipped), ("m.npz", zipped)],
)


def parts(count: int, size: int = LARGE) -> dict[str, bytes]:
    return {f"part {number}": bytes([number + 1]) * size for number in range(count)}


@FORMATS
def test_a_part_that_is_new_or_longer_shifts_no_other(path: str, make: Maker) -> None:
    before = parts(6)
    after = {"new": b"n" * 1_000_003, **before, "part 3": b"longer" * MIB}
    had = set(chunks(path, make(before)))
    new = [chunk for chunk in chunks(path, make(after)) if chunk not in had]
    told = 7 * 1_000
    assert sum(map(len, new)) < 1_000_003 + 6 * MIB + told


@FORMATS
def test_each_large_part_begins_a_chunk(path: str, make: Maker) -> None:
    made = make(parts(4))
    begins = {chunk[:1000] for chunk in chunks(path, made)}
    assert {bytes([number + 1]) * 1000 for number in range(4)} <= begins


@FORMATS
def test_small_parts_share_chunks(path: str, make: Maker) -> None:
    assert len(cut(path, make(parts(200, 3000)))) <= 2


@FORMATS
@given(st.lists(st.integers(0, 5 * MIB), min_size=1, max_size=5))
def test_cuts_cover_the_file(path: str, make: Maker, sizes: list[int]) -> None:
    cut(path, make({str(number): bytes(size) for number, size in enumerate(sizes)}))


@FORMATS
@given(st.data())
def test_whatever_a_damaged_file_says_its_cuts_cover_it(
    path: str, make: Maker, data: st.DataObject
) -> None:
    made = bytearray(make(parts(2, 400_000)))
    for _ in range(data.draw(st.integers(1, 4))):
        near = data.draw(st.sampled_from([0, len(made) - 400]))
        position = near + data.draw(st.integers(0, 399))
        made[position] = data.draw(st.integers(0, 255))
    cut(path, bytes(made[: data.draw(st.sampled_from([None, len(made) // 2]))]))


@given(st.integers(0, 20 * MIB))
def test_fixed_cuts_cover_the_file(size: int) -> None:
    cuts = list(cut_fixed(size))
    assert sum(cuts) == size
    assert all(0 < cut <= MAX_CHUNK_BYTES for cut in cuts)


def test_a_longer_header_shifts_no_tensor() -> None:
    short, long = (safetensors(parts(2), note=note) for note in ("", "x" * 1000))
    assert cut("m.safetensors", short)[1:] == cut("m.safetensors", long)[1:]


def test_a_chunk_of_small_parts_ends_where_a_large_one_begins() -> None:
    sizes = [1000, 2000, 300_000, 50]
    made = safetensors({str(number): bytes(size) for number, size in enumerate(sizes)})
    assert cut("m.safetensors", made)[1:] == [3000, 300_000, 50]


def test_compressed_members_begin_chunks_too() -> None:
    made = io.BytesIO()
    random = b"".join(struct.pack("<d", number**0.5) for number in range(100_000))
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", random)
        archive.writestr("b", random[::-1])
    assert len(cut("m.zip", made.getvalue())) > 2


@pytest.mark.parametrize(
    "header",
    [
        b"", b"[]", b"null", b"{", b"\xff", b'{"a": 1}', b'{"a": {"data_offsets": [1, 9]}}',
        b'{"a": {"data_offsets": [0, 4]}}', b'{"a": {"data_offsets": "xy"}}',
        b'{"a": {"data_offsets": [9, 0]}}', b"[" * 100_000,
        b'{"a": {"data_offsets": [0, Infinity]}}', b'{"a": {"data_offsets": [NaN, 1e999]}}',
    ],
)  # fmt: skip
def test_a_header_that_does_not_describe_the_file_is_not_followed(header: bytes) -> None:
    made = len(header).to_bytes(8, "little") + header + bytes(LARGE)
    assert cut("m.safetensors", made) == list(cut_fixed(len(made)))


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("m.safetensors", (2**40).to_bytes(8, "little") + bytes(LARGE)),
        ("m.safetensors", (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(20 * MIB)),
        ("m.zip", b"PK\x03\x04" + bytes(LARGE)),
        ("m.zip", zipped({str(number): b"" for number in range(9)})[:-1] + b"\xff" * LARGE),
        ("m.gguf", gguf(parts(2), version=1)),
        ("m.gguf", gguf({}) + bytes(LARGE)),
        ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**62, 0) + bytes(LARGE)),
        ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1, 2**62) + bytes(LARGE)),
        ("m.bin", bytes(LARGE)),
    ],
)
def test_what_is_not_of_a_format_is_cut_at_fixed_sizes(path: str, made: bytes) -> None:
    assert cut(path, made) == list(cut_fixed(len(made)))


def test_a_directory_that_is_too_long_is_not_read() -> None:
    made = zipped({"weights": bytes(LARGE)})
    # The end of the archive tells the size of its directory.
    far = struct.pack("<I", MAX_HEADER_BYTES + 1)
    made = made[:-10] + far + made[-6:]
    made = made[:4] + bytes(MAX_HEADER_BYTES) + made[4:]
    assert cut("m.pt", made) == list(cut_fixed(len(made)))


def test_a_file_of_too_many_parts_is_cut_at_fixed_sizes() -> None:
    size = 260 * 1024
    parts_count = MAX_FILE_CHUNKS + 1
    entries = {
        str(number): {"data_offsets": [number * size, (number + 1) * size]}
        for number in range(parts_count)
    }
    header = json.dumps(entries).encode()
    head = len(header).to_bytes(8, "little") + header
    total = len(head) + parts_count * size
    cuts = cut_file("m.safetensors", total, lambda offset, size: head[offset : offset + size])
    assert cuts == list(cut_fixed(total))


def test_a_file_too_small_to_profit_is_not_read() -> None:
    def read(offset: int, size: int) -> bytes:
        raise AssertionError((offset, size))

    assert cut_file("m.safetensors", 1000, read) == [1000]
    assert cut_file("m.safetensors", 0, read) == []
