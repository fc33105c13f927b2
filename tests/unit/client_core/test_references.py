from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.core.references import (
    Reference,
    Selector,
    check_alias,
    check_name,
    names_a_model,
    parse_reference,
)
from herdbook.errors import AliasInvalid, HerdbookError, NameInvalid, ReferenceInvalid

NAMES = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}(/[A-Za-z0-9][A-Za-z0-9._-]{0,8}){0,3}", fullmatch=True
)
ALIASES = st.from_regex(r"[A-Za-z_][A-Za-z_-]{0,10}", fullmatch=True).filter(
    lambda alias: alias.lower() not in ("latest", "v")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team/task@champion", Reference("team/task", Selector.ALIAS, "champion")),
        ("team/task:7", Reference("team/task", Selector.NUMBER, "7")),
        ("team/task:2.1.0-rc.1", Reference("team/task", Selector.LABEL, "2.1.0-rc.1")),
        ("team/task", Reference("team/task")),
        ("models:/name/7", Reference("name", Selector.NUMBER, "7")),
        ("models:/name@alias", Reference("name", Selector.ALIAS, "alias")),
        ("models:/name/Production", Reference("name", Selector.STAGE, "production")),
        ("models:/team/task/latest", Reference("team/task")),
    ],
)
def test_every_form_of_a_reference_is_understood(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "a//b", "a/b/c/d/e", "-a", "a@", "a@1", "a@latest", "a@v7", "a:0", "a:01", "a:x",
        "a:1.2", "a:2147483648", "a b", "a\n", "ä", "a@b@c", "a:1:2", "models:/", "models:/a",
        "models:/a/b@", "../a", "a" * 201,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ReferenceInvalid):
        parse_reference(text)


@given(model=NAMES, alias=ALIASES, number=st.integers(1, 2**31 - 1))
def test_a_reference_is_spelled_so_that_it_parses_back(model: str, alias: str, number: int) -> None:
    for reference in (
        Reference(model, Selector.ALIAS, alias),
        Reference(model, Selector.NUMBER, str(number)),
        Reference(model),
    ):
        assert parse_reference(str(reference)) == reference


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ReferenceInvalid as error:
        assert len(str(error)) < 2000  # noqa: PT017
    else:
        assert parse_reference(str(reference)) == reference


def test_only_a_bare_name_addresses_the_model_itself() -> None:
    assert names_a_model("team/task")
    assert not any(map(names_a_model, ["team/task:1", "team/task@x", "models:/team/task/1"]))


@pytest.mark.parametrize("alias", ["latest", "Latest", "v7", "V12"])
def test_an_alias_never_reads_like_a_version(alias: str) -> None:
    with pytest.raises(AliasInvalid):
        check_alias(alias)


def test_the_errors_of_names_are_errors_of_the_tree() -> None:
    with pytest.raises(NameInvalid) as caught:
        check_name("a/b/c/d/e")
    assert isinstance(caught.value, HerdbookError)
    assert caught.value.reason == "NAME_INVALID"
