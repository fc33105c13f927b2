"""References: every documented form, and why others are refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook_server.errors import ReferenceInvalid
from herdbook_server.ports.references import (
    ByAlias,
    ByLabel,
    ByNumber,
    Newest,
    NewestInStage,
    Reference,
)
from herdbook_server.ports.values import Stage
from herdbook_server.registry.references import parse_fixed_reference, parse_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("team/task@champion", ByAlias("team/task", "champion")),
        ("task@_a-B", ByAlias("task", "_a-B")),
        ("team/task:7", ByNumber("team/task", 7)),
        ("task:2147483647", ByNumber("task", 2147483647)),
        ("task:2.1.0", ByLabel("task", "2.1.0")),
        ("task:2.1.0-rc.1+b5", ByLabel("task", "2.1.0-rc.1+b5")),
        ("a/b/c/d", Newest("a/b/c/d")),
        ("models:/task/7", ByNumber("task", 7)),
        ("models:/team/task/7", ByNumber("team/task", 7)),
        ("models:/team/task@champion", ByAlias("team/task", "champion")),
        ("models:/task/Production", NewestInStage("task", Stage.PRODUCTION)),
        ("models:/task/none", NewestInStage("task", Stage.NONE)),
        ("models:/task/latest", Newest("task")),
        ("models:/production/LATEST", Newest("production")),
    ],
)
def test_each_form_names_what_it_says(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "A reference is required"),
        ("task@", "An alias is required"),
        ("@champion", "A model's name is required"),
        ("task@latest", "a model's name alone names its newest version"),
        ("task@v7", "could be mistaken for version 7"),
        ("task:0", "no version's number"),
        ("task:07", "no version's number"),
        ("task:2147483648", "no version's number"),
        ("task:", "no version's number"),
        ("task:champion", "an alias is written task@champion"),
        ("task:latest", "named by the model alone: task"),
        ("task:7@champion", "is no name"),
        ("a//b", "is no name"),
        ("/a", "is no name"),
        ("a/b/c/d/e", "4 segments"),
        ("x" * 201, "200 is the most"),
        ("x" * 2000, "1024 characters"),
        ("tásk", "is no name"),
        ("task\n", "is no name"),
        ("task:7\n", "no version's number"),
        ("models:/task", "names a version, such as models:/task/7"),
        ("models:/task/live", "no stage and not 'latest'"),
        ("models://task/7", "is no name"),
    ],
)
def test_anything_else_is_refused_with_a_sentence_that_helps(text: str, sentence: str) -> None:
    with pytest.raises(ReferenceInvalid) as refusal:
        parse_reference(text)
    assert sentence in refusal.value.message
    assert refusal.value.fields[0].field == "reference"


@pytest.mark.parametrize("text", ["task@champion", "task", "models:/task/Production"])
def test_calls_that_edit_take_no_reference_that_may_move(text: str) -> None:
    with pytest.raises(ReferenceInvalid, match="by number or label, such as task:7"):
        parse_fixed_reference(text)
    assert parse_fixed_reference("task:7") == ByNumber("task", 7)
    assert parse_fixed_reference("models:/task/7") == ByNumber("task", 7)


@given(st.text() | st.text("@:/.-v017ab", max_size=12))
def test_any_text_is_a_reference_or_refused_as_one(text: str) -> None:
    with suppress(ReferenceInvalid):
        assert parse_reference(str(parse_reference(text))) == parse_reference(text)
