from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from herdbook.core.chunk_messages import decode_download, encode_upload
from herdbook.errors import ResponseInvalid
from herdbook.v1 import artifact_pb2 as pb

CHUNKS = st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=400)))


@given(model=st.text("ab/ä", max_size=200), chunks=CHUNKS)
def test_protobuf_reads_what_is_written(model: str, chunks: list[tuple[bytes, bytes]]) -> None:
    message = pb.UploadChunksRequest.FromString(encode_upload(model, chunks))
    assert message.model == model
    assert [(chunk.sha256, chunk.data) for chunk in message.chunks] == chunks


@given(CHUNKS)
def test_what_protobuf_writes_is_read(chunks: list[tuple[bytes, bytes]]) -> None:
    message = pb.DownloadChunksResponse(chunks=[pb.Chunk(sha256=s, data=d) for s, d in chunks])
    read = [(sha256, bytes(data)) for sha256, data in decode_download(message.SerializeToString())]
    assert read == chunks


def test_a_full_chunk_survives_both_ways() -> None:
    sha256, data = b"d" * 32, bytes(range(256)) * 8192
    message = pb.UploadChunksRequest.FromString(encode_upload("m", [(sha256, memoryview(data))]))
    assert message.chunks[0].data == data
    answer = pb.DownloadChunksResponse(chunks=[message.chunks[0]]).SerializeToString()
    assert [(s, bytes(d)) for s, d in decode_download(answer)] == [(sha256, data)]


def test_fields_that_came_later_are_skipped() -> None:
    known = pb.DownloadChunksResponse(chunks=[pb.Chunk(sha256=b"x" * 32, data=b"y")])
    later = bytes([9 << 3 | 0, 5, 9 << 3 | 1, *range(8), 9 << 3 | 5, *range(4), 9 << 3 | 2, 1, 0])
    read = list(decode_download(later + known.SerializeToString() + later))
    assert [(s, bytes(d)) for s, d in read] == [(b"x" * 32, b"y")]


@given(st.binary(max_size=100))
def test_no_bytes_do_harm(message: bytes) -> None:
    try:
        read = [(bytes(s), bytes(d)) for s, d in decode_download(message)]
    except ResponseInvalid:
        return
    try:
        expected = pb.DownloadChunksResponse.FromString(message)
    except DecodeError:
        # Protobuf is stricter about fields that are skipped here.
        return
    assert len(read) == len(expected.chunks)


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05abc", b"\x80" * 11, b"\x0b", b"\x0d\x00"])
def test_a_torn_message_is_refused(message: bytes) -> None:
    with pytest.raises(ResponseInvalid):
        list(decode_download(message))
