"""Arbitrary messages of the contract, for tests by Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

MODEL = "fuzzed"
"""A model that most messages are about."""

HOSTILE_TEXTS = (
    "",
    "../x",
    "a\x00b",
    "\u0301é" * 300,
    "x" * 5000,
    "NOT (" * 200,
    "99999999999999999999",
    "%s' OR 1=1 --",
)

PLAUSIBLE_TEXTS = {
    "model": (MODEL, MODEL, "fraud/tc"),
    "name": (MODEL, "fraud/tc", "x"),
    "reference": (f"{MODEL}:1", f"{MODEL}@champion", MODEL, f"models:/{MODEL}/Production"),
    "references": (f"{MODEL}:1", f"{MODEL}@champion", "fraud/tc@champion"),
    "model_prefixes": ("", "fu", MODEL),
    "alias": ("champion", "challenger"),
    "aliases": ("champion", "challenger"),
    "label": ("2.1.0", ""),
    "path": ("model.bin", "a/b"),
    "paths": ("description", "label"),
    "filter": (
        "",
        'metrics.rmse < 7 AND tags.team = "fraud"',
        'number >= 1 AND NOT stage = "staging"',
        "description:*",
        "version_count > 0",
    ),
    "order_by": ("", "number desc", "metrics.rmse asc, number desc", "name"),
    "page_token": ("",),
    "request_id": ("", "5f1c0f6e-9d0a-4c55-8f0e-0a6a2f3f9b7c"),
    "source_uri": ("", "s3://bucket/model"),
    "key": ("team", "rmse"),
}
"""What fields of these names take."""

_NEEDED = frozenset({"model", "name", "reference", "references", "version", "alias", "update_mask"})
"""Fields without which a message is refused at once."""

_DEPTH = 4
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
}
_SMALL = st.sampled_from([0, 1, 2, 3, -1, 100, 1000])
_HOSTILE = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(max_size=40))
_BYTES = st.one_of(st.binary(max_size=40), st.binary(min_size=32, max_size=32))
_SCALARS: dict[int, Callable[[], st.SearchStrategy[Any]]] = {
    FieldDescriptor.TYPE_BYTES: lambda: _BYTES,
    FieldDescriptor.TYPE_BOOL: st.booleans,
    FieldDescriptor.TYPE_DOUBLE: st.floats,
}


def messages(descriptor: Descriptor, *, depth: int = _DEPTH) -> st.SearchStrategy[Message]:
    """Messages of a type, with any of its fields set to anything."""
    kind = message_factory.GetMessageClass(descriptor)
    fields = {
        field.name: _field(field, depth=depth)
        for field in descriptor.fields
        if depth > 0 or field.message_type is None
    }
    needed = {name: fields.pop(name) for name in _NEEDED & fields.keys()}
    # Of a oneof the field set last stands, as on the wire.
    return st.fixed_dictionaries(needed, optional=fields).map(lambda given: kind(**given))


def _field(field: FieldDescriptor, *, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        keys, values = entry["key"], entry["value"]
        return st.dictionaries(_value(keys, depth), _value(values, depth), max_size=3)
    value = _value(field, depth)
    return st.lists(value, max_size=3) if field.is_repeated else value


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth=depth - 1)
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from([*known, 99])
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text(field.name)
    if field.type in _INTEGERS:
        return st.one_of(_SMALL, _INTEGERS[field.type])
    return _SCALARS[field.type]()


def _text(name: str) -> st.SearchStrategy[str]:
    """Mostly what the field takes, now and then anything."""
    plausible = st.sampled_from(PLAUSIBLE_TEXTS.get(name, ("moo",)))
    return st.integers(0, 9).flatmap(lambda luck: plausible if luck else _HOSTILE)
