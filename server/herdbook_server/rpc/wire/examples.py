"""Input examples on the wire: any JSON value."""

from __future__ import annotations

import math

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

from herdbook_server.errors import FieldInvalid, FieldViolation
from herdbook_server.ports.values import JSON

_EXACT = 2.0**53
"""Beyond it a double does not hold every whole number."""


def from_example(message: Value) -> JSON:
    """Return the JSON value that a message holds; whole numbers as such.

    Raises:
        FieldInvalid: It holds a number that JSON does not have.
    """
    kind = message.WhichOneof("kind")
    if kind == "number_value":
        return _number(message.number_value)
    if kind == "string_value":
        return message.string_value
    if kind == "bool_value":
        return message.bool_value
    if kind == "list_value":
        return [from_example(entry) for entry in message.list_value.values]
    if kind == "struct_value":
        return {key: from_example(entry) for key, entry in message.struct_value.fields.items()}
    return None


def to_example(value: JSON) -> Value:
    """Return a JSON value as a message."""
    if value is None:
        return Value(null_value=NullValue.NULL_VALUE)
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, str):
        return Value(string_value=value)
    if isinstance(value, int | float):
        return Value(number_value=value)
    if isinstance(value, list):
        return Value(list_value=ListValue(values=[to_example(entry) for entry in value]))
    fields = {key: to_example(entry) for key, entry in value.items()}
    return Value(struct_value=Struct(fields=fields))


def _number(number: float) -> int | float:
    if not math.isfinite(number):
        message = "JSON has no NaN and no infinity."
        raise FieldInvalid(message, fields=[FieldViolation("version.input_example", message)])
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number
