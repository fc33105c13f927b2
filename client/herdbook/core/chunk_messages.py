"""The two messages that carry bytes, written and read without copying the bytes twice.

`UploadChunksRequest` and `DownloadChunksResponse` of `artifact.proto`, in the encoding of
https://protobuf.dev/programming-guides/encoding. Chunks are most of what is moved, and each copy
costs as much as half a hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from herdbook.errors import ResponseInvalid

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5

_MODEL_TAG = b"\x0a"
_CHUNKS_TAG = b"\x12"
_SHA256_TAG_AND_LENGTH = b"\x0a\x20"
_DATA_TAG = b"\x12"

_CHUNKS_FIELD: Final = 1
_SHA256_FIELD: Final = 1
_DATA_FIELD: Final = 2
_LONGEST_VARINT: Final = 10

_MORE: Final = 0x80
"""Set in each byte of a number but the last."""


def encode_upload(model: str, chunks: Iterable[tuple[bytes, bytes | memoryview]]) -> bytes:
    """Writes an UploadChunksRequest.

    Args:
        model: The model; may be empty in all but the first message.
        chunks: SHA-256 and bytes of each.
    """
    parts: list[bytes | memoryview] = []
    if model:
        name = model.encode()
        parts += (_MODEL_TAG, _varint(len(name)), name)
    for sha256, data in chunks:
        lead = b"".join((_SHA256_TAG_AND_LENGTH, sha256, _DATA_TAG, _varint(len(data))))
        parts += (_CHUNKS_TAG, _varint(len(lead) + len(data)), lead, data)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= _MORE:
        encoded.append(number % _MORE | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def decode_download(message: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yields SHA-256 and bytes of the chunks of a DownloadChunksResponse, as views of it.

    Raises:
        ResponseInvalid: It is no such message.
    """
    for field, value in _fields(memoryview(message)):
        if field == _CHUNKS_FIELD:
            yield _chunk(value)


def _chunk(message: memoryview) -> tuple[bytes, memoryview]:
    sha256, data = b"", memoryview(b"")
    for field, value in _fields(message):
        if field == _SHA256_FIELD:
            sha256 = bytes(value)
        elif field == _DATA_FIELD:
            data = value
    return sha256, data


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields number and contents of the fields that hold bytes; skips the rest."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        kind, field = tag & 7, tag >> 3
        if kind == _BYTES:
            length, position = _read_varint(message, position)
            yield field, message[position : _within(message, position + length)]
            position += length
        else:
            position = _skip(message, position, kind)


def _skip(message: memoryview, position: int, kind: int) -> int:
    if kind == _VARINT:
        return _read_varint(message, position)[1]
    if kind == _FIXED64:
        return _within(message, position + 8)
    if kind == _FIXED32:
        return _within(message, position + 4)
    raise ResponseInvalid("A message with chunks cannot be read.")


def _within(message: memoryview, end: int) -> int:
    if end > len(message):
        raise ResponseInvalid("A message with chunks ends too early.")
    return end


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    number = 0
    for index in range(_LONGEST_VARINT):
        byte = message[_within(message, position + index + 1) - 1]
        number |= (byte % _MORE) << (7 * index)
        if byte < _MORE:
            return number, position + index + 1
    raise ResponseInvalid("A message with chunks cannot be read.")
