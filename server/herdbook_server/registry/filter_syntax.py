"""The syntax of filters: text to a tree of comparisons, whatever fields there are."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from importlib import resources
from typing import Literal

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from herdbook_server.errors import FieldViolation, FilterInvalid
from herdbook_server.registry.rules import shown

FILTER_MAX_BYTES = 4096
FILTER_MAX_DEPTH = 50
"""Parentheses and NOTs around a comparison."""


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of a filter's text."""

    text: str
    position: int
    """Of its first character, from 1."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """A comparison as written."""

    field: Word
    operator: str
    value: Word
    quoted: bool
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT and what it applies to."""

    item: Tree
    depth: int


@dataclass(frozen=True, slots=True)
class Junction:
    """Several conditions joined by AND or by OR."""

    word: Literal["AND", "OR"]
    items: tuple[Tree, ...]
    depth: int


Tree = Restriction | Negation | Junction


def parse_syntax(text: str) -> Tree:
    """The tree of a filter that is not blank.

    Takes time and memory in proportion to the text, which is short, and no recursion.

    Raises:
        FilterInvalid: It is too long, too deep, or no filter; the sentence says where.
    """
    if len(text) > FILTER_MAX_BYTES or len(text.encode(errors="replace")) > FILTER_MAX_BYTES:
        raise invalid(f"A filter has {FILTER_MAX_BYTES} bytes of UTF-8 at most.")
    try:
        tree: Tree = _parser().parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        raise _explained(error, text) from None
    if tree.depth > FILTER_MAX_DEPTH:
        raise invalid(f"A filter is nested {FILTER_MAX_DEPTH} deep at most; this one {tree.depth}.")
    return tree


def invalid(description: str, position: int | None = None) -> FilterInvalid:
    """An error that says where."""
    if position is not None:
        description = f"Position {position}: {description}"
    return FilterInvalid(f"filter: {description}", fields=[FieldViolation("filter", description)])


@v_args(inline=True)
class _Builder(Transformer[Token, Tree]):
    """Builds the tree while parsing: called for each rule once its parts are there."""

    def any_of(self, *items: Tree) -> Tree:
        return _joined("OR", items)

    def all_of(self, *items: Tree) -> Tree:
        return _joined("AND", items)

    def negation(self, item: Tree) -> Tree:
        return Negation(item, item.depth + 1)

    def group(self, item: Tree) -> Tree:
        return replace(item, depth=item.depth + 1)

    def comparison(self, field: Token, operator: Token, value: Token) -> Tree:
        return Restriction(_word(field), str(operator), _word(value), quoted=value.type == "QUOTED")


@functools.cache
def _parser() -> Lark:
    grammar = resources.files(__package__).joinpath("filter.lark").read_text("utf-8")
    return Lark(grammar, start="filter", parser="lalr", transformer=_Builder())


def _joined(word: Literal["AND", "OR"], items: tuple[Tree, ...]) -> Tree:
    if len(items) == 1:
        return items[0]
    return Junction(word, items, max(item.depth for item in items))


def _word(token: Token) -> Word:
    return Word(str(token), (token.start_pos or 0) + 1)


_START = 'a comparison such as stage = "production", NOT or an opening parenthesis'
_EXPECTED = {
    "FIELD": _START,
    "OPERATOR": "one of = != < <= > >= :",
    "BARE": 'a value such as "fraud", 7 or fr*',
    "$END": "AND, OR or the end",
    "_AND": "AND, OR or the end",
    "_CLOSE": "AND, OR or a closing parenthesis",
}
_SHOWN_CHARACTERS = 20


def _explained(error: UnexpectedInput, text: str) -> FilterInvalid:
    accepted = _accepted(error)
    expected = next((words for name, words in _EXPECTED.items() if name in accepted), "")
    start = _start(error, text)
    if start is None:
        return invalid(f"The filter ends where there should be {expected}.")
    if text[start] in "\"'" and "QUOTED" in accepted:
        return invalid("This quoted value has no closing quote.", start + 1)
    if not expected:
        return invalid("This parenthesis closes none.", start + 1)
    found = text[start : start + _SHOWN_CHARACTERS].split(maxsplit=1)[0]
    return invalid(f"Expected {expected}, but found {shown(found)}.", start + 1)


def _accepted(error: UnexpectedInput) -> set[str]:
    if isinstance(error, UnexpectedCharacters):
        return set(error.allowed or ())
    if isinstance(error, UnexpectedToken):
        return set(error.accepts or ())
    return set()


def _start(error: UnexpectedInput, text: str) -> int | None:
    """Where the parser stopped; None at the end."""
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return None
    start: int | None = getattr(error, "pos_in_stream", None)
    return start if start is not None and start < len(text) else None
