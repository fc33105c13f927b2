"""The worked example of a manifest's digest in protos/README.md is right."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from google.protobuf import json_format

from herdbook.v1 import manifest_pb2

README = Path(__file__).resolve().parents[2] / "protos" / "README.md"


def example_section() -> str:
    """The README's section on the digest."""
    return README.read_text().split("## The digest of a manifest\n")[1].split("\n## ")[0]


def example_manifest() -> manifest_pb2.Manifest:
    """The manifest that the section gives in JSON."""
    block = re.search(r"```json\n(.*?)```", example_section(), re.DOTALL)
    assert block
    return json_format.Parse(block[1], manifest_pb2.Manifest())


def example_bytes() -> bytes:
    """The bytes that the section lists: hex, then, two spaces on, words or more hex."""
    block = re.search(r"these \d+ bytes:\n\n```\n(.*?)```", example_section(), re.DOTALL)
    assert block
    return b"".join(leading_bytes(line) for line in block[1].splitlines())


def leading_bytes(line: str) -> bytes:
    """The hex at the start of a line, in one or two columns."""
    columns = re.match(r"([0-9a-f]+)(?:  ([0-9a-f]{2,}))?(?:  |$)", line)
    assert columns, line
    return bytes.fromhex(columns[1] + (columns[2] or ""))


def encoded(manifest: manifest_pb2.Manifest) -> bytes:
    """The manifest's bytes, from the words of its definition."""
    parts = [b"herdbook-manifest-v1\n"]
    for file in sorted(manifest.files, key=lambda file: file.path.encode()):
        path = file.path.encode()
        parts += [len(path).to_bytes(4), path, len(file.chunks).to_bytes(4)]
        for chunk in file.chunks:
            parts += [chunk.sha256, chunk.size_bytes.to_bytes(4)]
    return b"".join(parts)


def test_the_listed_bytes_are_the_encoding_of_the_listed_manifest() -> None:
    assert example_bytes() == encoded(example_manifest())
    assert f"these {len(example_bytes())} bytes" in example_section()


def test_the_stated_digest_is_that_of_the_listed_bytes() -> None:
    assert f"`sha256:{hashlib.sha256(example_bytes()).hexdigest()}`" in example_section()


def test_the_chunks_are_of_the_contents_that_are_named_beside_them() -> None:
    digests = {chunk.sha256 for file in example_manifest().files for chunk in file.chunks}
    contents = (b'{"layers": 2}', b"hello ", b"world")
    assert digests == {hashlib.sha256(data).digest() for data in contents}
