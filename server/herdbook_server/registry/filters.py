"""Filters and orders: what users write, against the fields that there are."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from herdbook_server.errors import OrderByInvalid
from herdbook_server.ports.queries import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Field,
    Not,
    Operator,
    Presence,
    Scalar,
    SortKey,
)
from herdbook_server.ports.values import EventKind, Stage
from herdbook_server.registry.filter_syntax import (
    FILTER_MAX_BYTES,
    Junction,
    Negation,
    Restriction,
    Tree,
    Word,
    invalid,
    parse_syntax,
)
from herdbook_server.registry.rules import is_key, refuse, shown

ORDER_BY_MAX_KEYS = 8
INTEGER_MAX = 2**63 - 1


class Kind(Enum):
    """What a field holds."""

    TEXT = auto()
    NUMBER = auto()
    INTEGER = auto()
    TIME = auto()
    STAGE = auto()
    EVENT = auto()
    SET = auto()
    """A set of texts."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of a kind of record."""

    plain: Mapping[str, Kind]
    keyed: Mapping[str, Kind] = field(default_factory=dict)
    """Fields that need a key, such as `tags.team`."""
    unsortable: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The fields, as a person would write them."""
        return [*self.plain, *(f"{name}.KEY" for name in self.keyed)]


MODEL_FIELDS = Schema(
    plain={
        "name": Kind.TEXT,
        "description": Kind.TEXT,
        "author": Kind.TEXT,
        "created_at": Kind.TIME,
        "updated_at": Kind.TIME,
        "latest_version": Kind.INTEGER,
        "version_count": Kind.INTEGER,
    },
    keyed={"tags": Kind.TEXT},
    unsortable=frozenset({"description"}),
)

VERSION_FIELDS = Schema(
    plain={
        "model": Kind.TEXT,
        "number": Kind.INTEGER,
        "label": Kind.TEXT,
        "description": Kind.TEXT,
        "stage": Kind.STAGE,
        "aliases": Kind.SET,
        "author": Kind.TEXT,
        "framework": Kind.TEXT,
        "format": Kind.TEXT,
        "source_uri": Kind.TEXT,
        "digest": Kind.TEXT,
        "lineage.run_id": Kind.TEXT,
        "lineage.code.commit": Kind.TEXT,
        "size_bytes": Kind.INTEGER,
        "file_count": Kind.INTEGER,
        "created_at": Kind.TIME,
        "updated_at": Kind.TIME,
    },
    keyed={"metrics": Kind.NUMBER, "params": Kind.TEXT, "tags": Kind.TEXT},
    unsortable=frozenset({"description", "aliases"}),
)

EVENT_FIELDS = Schema(
    plain={
        "revision": Kind.INTEGER,
        "kind": Kind.EVENT,
        "model": Kind.TEXT,
        "version": Kind.INTEGER,
        "alias": Kind.TEXT,
        "actor": Kind.TEXT,
        "time": Kind.TIME,
        "reason": Kind.TEXT,
    }
)

_EQUALITY: Mapping[str, Operator] = {"=": "=", "!=": "!="}
_ORDERING: Mapping[str, Operator] = {**_EQUALITY, "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_OPERATORS: Mapping[Kind, Mapping[str, Operator]] = {
    Kind.TEXT: _EQUALITY,
    Kind.NUMBER: _ORDERING,
    Kind.INTEGER: _ORDERING,
    Kind.TIME: _ORDERING,
    Kind.STAGE: _EQUALITY,
    Kind.EVENT: _EQUALITY,
    Kind.SET: {":": "has"},
}
_NAMES: Mapping[Kind, str] = {
    Kind.TEXT: "text",
    Kind.NUMBER: "a number",
    Kind.INTEGER: "a whole number",
    Kind.TIME: "a time",
    Kind.STAGE: "a stage",
    Kind.EVENT: "a kind of event",
    Kind.SET: "a set",
}

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
"""RFC 3339, or a date alone, which means its midnight in UTC."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SORT_KEY = re.compile(r"\s*(\S+)(?:\s+(asc|desc))?\s*", re.IGNORECASE)


def parse_filter(text: str, schema: Schema) -> Condition | None:
    """The condition that a filter states; None for a blank one.

    Raises:
        FilterInvalid: It cannot be parsed, or does not fit the fields; the sentence says where.
    """
    if not text or text.isspace():
        return None
    return _condition(parse_syntax(text), schema)


def parse_order_by(text: str, schema: Schema) -> tuple[SortKey, ...]:
    """The sort keys of a text such as `metrics.rmse asc, number desc`; none for a blank one.

    Raises:
        OrderByInvalid: It cannot be parsed, or names a field that cannot be sorted by.
    """
    if not text or text.isspace():
        return ()
    if len(text) > FILTER_MAX_BYTES:
        raise _order_invalid(f"Sort keys take {FILTER_MAX_BYTES} characters at most.")
    parts = text.split(",")
    if len(parts) > ORDER_BY_MAX_KEYS:
        raise _order_invalid(f"{ORDER_BY_MAX_KEYS} sort keys are the most.")
    keys = tuple(_sort_key(part, schema) for part in parts)
    if len({key.field for key in keys}) < len(keys):
        raise _order_invalid("A field is named twice.")
    return keys


def _sort_key(part: str, schema: Schema) -> SortKey:
    match = _SORT_KEY.fullmatch(part)
    if match is None:
        raise _order_invalid(f"{shown(part.strip())} is no sort key such as number desc.")
    name, key = _split(match[1], schema)
    problem = _field_problem(name, key, schema)
    if problem:
        raise _order_invalid(problem)
    if name in schema.unsortable:
        raise _order_invalid(f"{name} cannot be sorted by.")
    return SortKey(Field(name, key), descending=(match[2] or "").lower() == "desc")


def _condition(tree: Tree, schema: Schema) -> Condition:
    """No deeper than `FILTER_MAX_DEPTH` allows."""
    match tree:
        case Restriction():
            return _restricted(tree, schema)
        case Negation(item):
            return Not(_condition(item, schema))
        case Junction(word, items):
            conditions = tuple(_condition(item, schema) for item in items)
            return All(conditions) if word == "AND" else AnyOf(conditions)


def _restricted(tree: Restriction, schema: Schema) -> Condition:
    name, key = _split(tree.field.text, schema)
    if key is None and name in schema.keyed and tree.operator == ":":
        return _key_presence(tree, name)
    problem = _field_problem(name, key, schema)
    if problem:
        raise invalid(problem, tree.field.position)
    kind = schema.plain[name] if key is None else schema.keyed[name]
    if tree.operator == ":" and tree.value.text == "*":
        return _presence(tree, Field(name, key), kind)
    operator = _OPERATORS[kind].get(tree.operator)
    if operator is None:
        raise invalid(_operator_problem(tree, kind), tree.field.position)
    return _compared(tree, Field(name, key), kind, operator)


def _compared(tree: Restriction, field: Field, kind: Kind, operator: Operator) -> Condition:
    text, prefix = _value(tree)
    if not prefix:
        return Comparison(field, operator, _scalar(text, kind, tree.value))
    if kind is not Kind.TEXT or operator != "=":
        raise invalid(_prefix_problem(tree, kind), tree.value.position)
    return Comparison(field, "prefix", text) if text else Presence(field)


def _key_presence(tree: Restriction, name: str) -> Condition:
    """`tags:team`: the map has the key."""
    key, prefix = _value(tree)
    if prefix or not is_key(key):
        raise invalid(f"{name}:KEY asks whether a key is there.", tree.value.position)
    return Presence(Field(name, key))


def _presence(tree: Restriction, field: Field, kind: Kind) -> Condition:
    if field.key is None and kind not in {Kind.TEXT, Kind.SET}:
        raise invalid(f"{field.name} always has a value.", tree.field.position)
    return Presence(field)


def _split(text: str, schema: Schema) -> tuple[str, str | None]:
    """The name of a field, and its key if it has one."""
    name, dot, key = text.partition(".")
    if not dot or text in schema.plain:
        return text, None
    return name, key[1:-1] if key[:1] in {'"', "'"} else key


def _field_problem(name: str, key: str | None, schema: Schema) -> str:
    if name in schema.keyed:
        if key is None:
            return f"{name} needs a key, such as {name}.team."
        return "" if is_key(key) else f"{shown(key)} is no key that {name} can have."
    if name not in schema.plain:
        text = name if key is None else f"{name}.{key}"
        return f"There is no field {shown(text)}.{_similar(text, schema)}"
    return "" if key is None else f"{name} has no keys."


def _similar(name: str, schema: Schema) -> str:
    bare = "." not in name
    known = {field.removesuffix(".KEY"): field for field in schema.names}
    likely = [field for field in known if not (bare and field in schema.keyed)]
    if close := difflib.get_close_matches(name.lower(), likely, n=1):
        return f" Did you mean {known[close[0]]}?"
    if bare and schema.keyed and is_key(name):
        return f" Did you mean {' or '.join(f'{field}.{name}' for field in schema.keyed)}?"
    return f" There are {', '.join(schema.names)}."


def _operator_problem(tree: Restriction, kind: Kind) -> str:
    name = tree.field.text
    if kind is Kind.SET:
        return f"{name} is a set: ask {name}:{tree.value.text}."
    if tree.operator == ":":
        return f"{name} is {_NAMES[kind]}: use =, or {name}:* to ask whether it is there."
    return f"{name} is {_NAMES[kind]}, which is compared by = and != only."


def _prefix_problem(tree: Restriction, kind: Kind) -> str:
    if kind is Kind.TEXT:
        return f"Write NOT {tree.field.text} = {tree.value.text} for values that start otherwise."
    return f"{tree.field.text} is {_NAMES[kind]}, which has no prefix."


def _value(tree: Restriction) -> tuple[str, bool]:
    """The value without quotes and escapes, and whether an asterisk ends it, which is cut off."""
    word = tree.value
    characters = _unescaped(word.text[1:-1]) if tree.quoted else [(c, False) for c in word.text]
    stars = [index for index, found in enumerate(characters) if found == ("*", False)]
    if stars and stars != [len(characters) - 1]:
        raise invalid(
            'An asterisk stands at the end only; "\\*" is the character itself.', word.position
        )
    text = "".join(character for character, _ in characters)
    if "\x00" in text:
        raise invalid("NUL characters are stored nowhere.", word.position)
    return (text[:-1], True) if stars else (text, False)


def _unescaped(text: str) -> list[tuple[str, bool]]:
    """Characters, and whether a backslash made them plain."""
    found = re.finditer(r"\\(.)|([^\\])", text, re.DOTALL)
    return [(match[1] or match[2], match[1] is not None) for match in found]


def _scalar(text: str, kind: Kind, word: Word) -> Scalar:
    match kind:
        case Kind.TEXT | Kind.SET:
            return text
        case Kind.NUMBER:
            return _number(text, word)
        case Kind.INTEGER:
            return _integer(text, word)
        case Kind.TIME:
            return _time_us(text, word)
        case Kind.STAGE:
            return _member(text, word, Stage, prefix="stage_")
        case Kind.EVENT:
            return _member(text, word, EventKind, prefix="event_kind_")


def _number(text: str, word: Word) -> float:
    if not _NUMBER.fullmatch(text):
        raise invalid(f"{shown(text)} is no number.", word.position)
    number = float(text)
    if math.isinf(number):
        raise invalid(f"{shown(text)} is too large a number.", word.position)
    return number


def _integer(text: str, word: Word) -> int:
    number = _number(text, word)
    if not number.is_integer():
        raise invalid(f"{shown(text)} is no whole number.", word.position)
    exact = int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else int(number)
    if abs(exact) > INTEGER_MAX:
        raise invalid(f"{shown(text)} is too large a number.", word.position)
    return exact


def _time_us(text: str, word: Word) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise invalid(
            f"{shown(text)} is no time such as 2026-07-01T12:00:00Z or 2026-07-01.", word.position
        )
    date, clock, fraction, offset = match.groups()
    offset = "+00:00" if offset in {None, "Z", "z"} else offset
    try:
        time = datetime.fromisoformat(f"{date}T{clock or '00:00:00'}{offset}")
    except ValueError:
        raise invalid(f"{shown(text)} is no time that exists.", word.position) from None
    whole_us = (time - _EPOCH) // timedelta(microseconds=1)
    return whole_us + int((fraction or "").ljust(6, "0")[:6])


def _member(text: str, word: Word, kind: type[Stage | EventKind], *, prefix: str) -> str:
    name = text.lower().removeprefix(prefix)
    names = [member.value for member in kind if member is not EventKind.UNSPECIFIED]
    if name not in names:
        raise invalid(f"{shown(text)} is not one of {', '.join(names)}.", word.position)
    return name


def _order_invalid(description: str) -> OrderByInvalid:
    return refuse(OrderByInvalid, "order_by", description)
