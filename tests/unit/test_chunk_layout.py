"""Chunks have one name each, and an S3 location one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook_server.storage.chunks.layout import FAN_OUT, chunk_digest, chunk_name
from herdbook_server.storage.chunks.s3_bucket import S3Location


@given(st.binary(min_size=32, max_size=32))
def test_a_name_leads_back_to_its_digest(digest: bytes) -> None:
    name = chunk_name(digest)
    assert name.partition("/")[0] in FAN_OUT
    assert name.replace("/", "") == digest.hex()
    assert chunk_digest(name) == digest


@given(st.text() | st.text("0123456789abcdefABCDEF/", min_size=60, max_size=68))
def test_any_other_name_has_no_digest(name: str) -> None:
    digest = chunk_digest(name)
    assert digest is None or chunk_name(digest) == name


@pytest.mark.parametrize(
    "name", ["", "/", "ab", "ab/" + "0" * 61, "ab/" + "0" * 63, "AB/" + "0" * 62, "0" * 64]
)
def test_what_only_resembles_a_name_has_no_digest(name: str) -> None:
    assert chunk_digest(name) is None


@pytest.mark.parametrize(
    ("url", "bucket", "prefix", "key"),
    [
        ("s3://bucket", "bucket", "", "x"),
        ("s3://bucket/", "bucket", "", "x"),
        ("s3://bucket/a", "bucket", "a", "a/x"),
        ("s3://bucket/a/b/", "bucket", "a/b", "a/b/x"),
    ],
)
def test_an_s3_location_names_bucket_and_prefix(
    url: str, bucket: str, prefix: str, key: str
) -> None:
    location = S3Location.parse(url)
    assert (location.bucket, location.prefix) == (bucket, prefix)
    assert location.key("x") == key
    assert S3Location.parse(str(location)) == location


@pytest.mark.parametrize(
    "url",
    ["", "bucket", "s3:", "s3://", "s3:///prefix", "http://bucket", "s3://b?x=1", "s3://b/a#c"],
)
def test_what_is_no_s3_location_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="looks like"):
        S3Location.parse(url)


def test_credentials_in_an_s3_location_are_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="no credentials") as caught:
        S3Location.parse("s3://key:swordfish@bucket/prefix")
    assert "swordfish" not in str(caught.value)
