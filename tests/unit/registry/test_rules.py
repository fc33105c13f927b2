"""Rules for what comes from outside, at their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from herdbook_server.errors import (
    AliasInvalid,
    FieldInvalid,
    InvalidArgument,
    LabelInvalid,
    NameInvalid,
)
from herdbook_server.registry import rules


@pytest.mark.parametrize("name", ["a", "9", "A.b_c-d/e", "a/b/c/d", "x" * 200])
def test_names_of_models_are_segments(name: str) -> None:
    rules.check_name(name)


@pytest.mark.parametrize(
    "name", ["", "/", "a/", "/a", "a//b", "-a", ".a", "a/.b", "a b", "a/b/c/d/e", "x" * 201, "a\n"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(NameInvalid):
        rules.check_name(name)


@pytest.mark.parametrize("alias", ["champion", "_", "V", "vx", "v7b", "a-b_c", "x" * 255])
def test_aliases_are_words(alias: str) -> None:
    rules.check_alias(alias)


@pytest.mark.parametrize(
    "alias", ["", "7", "-a", "a.b", "a/b", "latest", "Latest", "v7", "V12", "x" * 256, "a\n"]
)
def test_aliases_that_could_be_versions_are_refused(alias: str) -> None:
    with pytest.raises(AliasInvalid):
        rules.check_alias(alias)


@pytest.mark.parametrize(
    "label", ["0.0.0", "2.1.0", "1.0.0-rc.1", "1.0.0-0a", "1.0.0+001", "1.0.0-a+b"]
)
def test_labels_are_semantic_versions(label: str) -> None:
    rules.check_label(label)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "1",
        "1.0",
        "01.0.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0+",
        "v1.0.0",
        "1.0.0\n",
        "1.0.0-" + "a" * 128,
    ],
)
def test_other_labels_are_refused(label: str) -> None:
    with pytest.raises(LabelInvalid):
        rules.check_label(label)


def test_a_request_id_is_a_uuid_in_one_spelling() -> None:
    assert rules.check_request_id(None) is None
    assert rules.check_request_id("") is None
    given = "5F1C0F6E-9d0a-4c55-8f0e-0a6a2f3f9b7c"
    assert rules.check_request_id(given) == given.lower()
    for wrong in ("x", given[:-1], given + "\n", "{" + given + "}", given.replace("-", "")):
        with pytest.raises(FieldInvalid):
            rules.check_request_id(wrong)


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        ({str(n) + "x": "" for n in range(3)}, 't["0x"]'),
        ({f"k{n}": "" for n in range(129)}, "t"),
        ({"a": "x" * 4097}, 't["a"]'),
        ({"a": "é" * 2049}, 't["a"]'),
        ({"a": "\0"}, 't["a"]'),
        ({"a": "\ud800"}, 't["a"]'),
        ({"a": "x" * 10_000_000}, 't["a"]'),
        ({"k" * 129: ""}, None),
        ({"": ""}, 't[""]'),
    ],
)
def test_tags_out_of_bounds_are_refused_and_the_field_is_named(
    tags: dict[str, str], field: str | None
) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        rules.check_tags(tags, field="t")
    if field is not None:
        assert refusal.value.fields[0].field == field
    assert len(refusal.value.message) < 1000


def test_tags_at_their_bounds_are_taken() -> None:
    rules.check_tags({f"k{n}": "" for n in range(128)}, field="t")
    rules.check_tags({"a" * 128: "é" * 2048, "A_b.c/d-e": "\n"}, field="t")


def test_a_metric_is_any_number_but_nan() -> None:
    rules.check_metrics({"a": math.inf, "b": -0.0, "c": 5e-324}, field="m")
    with pytest.raises(FieldInvalid, match="NaN"):
        rules.check_metrics({"a": math.nan}, field="m")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/key",
        "file:///models/a",
        "hf://org/model@rev",
        "abfss://container@account.dfs.core.windows.net/path",
        "ssh://git@host/repository",
        "https://host/a?version=@2",
        "urn:model:7",
    ],
)
def test_a_source_is_an_absolute_uri(uri: str) -> None:
    rules.check_source_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "bucket/key",
        "C:\\models",
        "s3://bucket/a b",
        "s3://user:secret@bucket/key",
        "https://token@host/a",
        "HTTPS://token@host/a",
        "http://[::1/a",
        "s3://" + "x" * 2048,
        "s3://bucket/\0",
    ],
)
def test_other_sources_and_credentials_are_refused(uri: str) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        rules.check_source_uri(uri)
    assert "secret" not in refusal.value.message


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (rules.check_name, "a b"),
        (rules.check_alias, "a b"),
        (rules.check_request_id, "a b"),
    ],
)
def test_every_refusal_names_its_field(check: Callable[..., object], text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        check(text, field="here")
    assert refusal.value.fields[0].field == "here"
    assert refusal.value.message.startswith("here: ")
