"""What names, texts and numbers from outside may be. Each rule stands here once, with its limit.

Every check takes the path of the field in the request, which the error names, and returns nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sized
from typing import TypeVar
from urllib.parse import urlsplit

from herdbook_server.errors import (
    AliasInvalid,
    FieldInvalid,
    FieldViolation,
    InvalidArgument,
    LabelInvalid,
    NameInvalid,
)

Refusal = TypeVar("Refusal", bound=InvalidArgument)

KIB = 1024

NAME_MAX_CHARACTERS = 200
NAME_MAX_SEGMENTS = 4
ALIAS_MAX_CHARACTERS = 255
LABEL_MAX_CHARACTERS = 128
DESCRIPTION_MAX_BYTES = 64 * KIB
REASON_MAX_BYTES = 4 * KIB
ACTOR_MAX_CHARACTERS = 256
URI_MAX_CHARACTERS = 2048
KEY_MAX_CHARACTERS = 128
TAGS_MAX = 128
TAG_MAX_BYTES = 4 * KIB
PARAMS_MAX = 1024
PARAM_MAX_BYTES = 8 * KIB
METRICS_MAX = 1024
NUMBER_MAX = 2**31 - 1
ALIASES_AT_ONCE_MAX = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_NAME_CHARACTERS = re.compile(r"[A-Za-z0-9._/-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ALIAS_LIKE_A_NUMBER = re.compile(r"[vV][0-9]+")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_REQUEST_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[^\s\x00-\x1f\x7f]+")
_NUMERIC = r"(?:0|[1-9][0-9]*)"
_LABEL = re.compile(
    rf"{_NUMERIC}\.{_NUMERIC}\.{_NUMERIC}"
    rf"(?:-(?:{_NUMERIC}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    rf"(?:\.(?:{_NUMERIC}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
"""Semantic Versioning 2.0.0, section 2 to 10."""


def refuse(error: type[Refusal], field: str, description: str) -> Refusal:
    """An error that blames one field, whose sentence is the field and what is wrong with it."""
    return error(f"{field}: {description}", fields=[FieldViolation(field, description)])


def check_name(name: str, *, field: str = "model") -> None:
    """A model's name. Raises NameInvalid."""
    if not name:
        raise refuse(NameInvalid, field, "A model's name is required.")
    if len(name) > NAME_MAX_CHARACTERS:
        raise refuse(NameInvalid, field, _too_long(len(name), NAME_MAX_CHARACTERS, "characters"))
    if not _NAME.fullmatch(name):
        raise refuse(
            NameInvalid,
            field,
            f"{shown(name)} is no name: use segments of letters, digits, '.', '_' and '-' "
            "that start with a letter or digit, joined by '/'.",
        )
    if name.count("/") >= NAME_MAX_SEGMENTS:
        raise refuse(NameInvalid, field, f"A name has {NAME_MAX_SEGMENTS} segments at most.")


def check_name_prefix(prefix: str, *, field: str) -> None:
    """What the names of some models begin with; nothing, for all. Raises FieldInvalid."""
    check_characters(prefix, field=field, limit=NAME_MAX_CHARACTERS)
    if not _NAME_CHARACTERS.fullmatch(prefix):
        raise refuse(FieldInvalid, field, f"No model's name begins with {shown(prefix)}.")


def check_alias(alias: str, *, field: str = "alias") -> None:
    """An alias. Raises AliasInvalid."""
    problem = alias_problem(alias)
    if problem:
        raise refuse(AliasInvalid, field, problem)


def alias_problem(alias: str) -> str:
    """What keeps a text from being an alias; empty if nothing does."""
    if not alias:
        return "An alias is required."
    if len(alias) > ALIAS_MAX_CHARACTERS:
        return _too_long(len(alias), ALIAS_MAX_CHARACTERS, "characters")
    if not _ALIAS.fullmatch(alias):
        return (
            f"{shown(alias)} is no alias: use letters, digits, '_' and '-', "
            "and start with a letter or '_'."
        )
    if alias.lower() == "latest":
        return "'latest' is no alias: a model's name alone names its newest version."
    if _ALIAS_LIKE_A_NUMBER.fullmatch(alias):
        return f"{shown(alias)} is no alias: it could be mistaken for version {alias[1:]}."
    return ""


def check_label(label: str, *, field: str = "version.label") -> None:
    """A semantic version. Raises LabelInvalid."""
    if len(label) > LABEL_MAX_CHARACTERS:
        raise refuse(LabelInvalid, field, _too_long(len(label), LABEL_MAX_CHARACTERS, "characters"))
    if not is_label(label):
        raise refuse(
            LabelInvalid,
            field,
            f"{shown(label)} is no semantic version such as 2.1.0 or 2.1.0-rc.1.",
        )


def is_label(text: str) -> bool:
    """Whether a text is a semantic version that may serve as a label."""
    return len(text) <= LABEL_MAX_CHARACTERS and bool(_LABEL.fullmatch(text))


def check_number(number: int, *, field: str) -> None:
    """A version's number. Raises FieldInvalid."""
    if not 1 <= number <= NUMBER_MAX:
        raise refuse(FieldInvalid, field, f"Versions are numbered from 1; this is {number}.")


def check_expected_version(number: int | None, *, field: str = "expected_version") -> None:
    """The version that an alias must point at; 0 means none. Raises FieldInvalid."""
    if number is not None and not 0 <= number <= NUMBER_MAX:
        raise refuse(FieldInvalid, field, f"A version's number or 0 is wanted; this is {number}.")


def check_expected_revision(revision: int | None, *, field: str = "expected_revision") -> None:
    """The revision that a thing must have; 0 and None expect nothing. Raises FieldInvalid."""
    if revision is not None and revision < 0:
        raise refuse(FieldInvalid, field, f"Revisions are counted from 1; this is {revision}.")


def check_reason(reason: str, *, field: str = "reason") -> None:
    """Why somebody writes. Raises FieldInvalid."""
    check_bytes(reason, field=field, limit_bytes=REASON_MAX_BYTES)


def check_description(description: str, *, field: str) -> None:
    """What a model or a version is. Raises FieldInvalid."""
    check_bytes(description, field=field, limit_bytes=DESCRIPTION_MAX_BYTES)


def check_request_id(request_id: str | None, *, field: str = "request_id") -> str | None:
    """A UUID or nothing, in one spelling: lower case, None if empty. Raises FieldInvalid."""
    if not request_id:
        return None
    if not _REQUEST_ID.fullmatch(request_id):
        raise refuse(
            FieldInvalid,
            field,
            f"{shown(request_id)} is no UUID such as 5f1c0f6e-9d0a-4c55-8f0e-0a6a2f3f9b7c.",
        )
    return request_id.lower()


def check_characters(text: str, *, field: str, limit: int) -> None:
    """A text of so many characters at most. Raises FieldInvalid."""
    _check_storable(text, field=field)
    if len(text) > limit:
        raise refuse(FieldInvalid, field, _too_long(len(text), limit, "characters"))


def check_line(text: str, *, field: str, limit: int) -> None:
    """One line of so many characters at most, as a terminal shows it. Raises FieldInvalid."""
    check_characters(text, field=field, limit=limit)
    if _CONTROL.search(text):
        raise refuse(FieldInvalid, field, "Control characters do not belong here.")


def check_bytes(text: str, *, field: str, limit_bytes: int) -> None:
    """A text of so many bytes of UTF-8 at most. Raises FieldInvalid."""
    size_bytes = _check_storable(text, field=field)
    if size_bytes > limit_bytes:
        raise refuse(FieldInvalid, field, _too_long(size_bytes, limit_bytes, "bytes of UTF-8"))


def check_count(things: Sized, *, field: str, limit: int) -> None:
    """So many things at most. Raises FieldInvalid."""
    if len(things) > limit:
        raise refuse(FieldInvalid, field, f"{len(things)} are given; {limit} is the most.")


def is_key(key: str) -> bool:
    """Whether tags, params and metrics may have a key."""
    return len(key) <= KEY_MAX_CHARACTERS and bool(_KEY.fullmatch(key))


def check_keys(keys: Iterable[str], *, field: str) -> None:
    """Keys of tags, params or metrics. Raises FieldInvalid."""
    for key in keys:
        if not is_key(key):
            raise refuse(
                FieldInvalid,
                entry(field, key),
                f"A key has letters, digits, '_', '.', '/' and '-', starts with a letter or '_', "
                f"and has {KEY_MAX_CHARACTERS} characters at most.",
            )


def check_tags(tags: Mapping[str, str], *, field: str) -> None:
    """Tags. Raises FieldInvalid."""
    _check_texts(tags, field=field, limit=TAGS_MAX, limit_bytes=TAG_MAX_BYTES)


def check_params(params: Mapping[str, str], *, field: str) -> None:
    """Training parameters. Raises FieldInvalid."""
    _check_texts(params, field=field, limit=PARAMS_MAX, limit_bytes=PARAM_MAX_BYTES)


def check_metrics(metrics: Mapping[str, float], *, field: str) -> None:
    """Measured figures. Raises FieldInvalid."""
    check_count(metrics, field=field, limit=METRICS_MAX)
    check_keys(metrics, field=field)
    for key, value in metrics.items():
        if math.isnan(value):
            raise refuse(FieldInvalid, entry(field, key), "NaN is no figure: leave the metric out.")


def check_source_uri(uri: str, *, field: str = "source_uri") -> None:
    """An absolute URI without credentials. Raises FieldInvalid.

    What stands before an `@` may be a user or, as in `abfss://container@account/…`, a container;
    it is refused if it has a password, and over HTTP, where tokens stand there.
    """
    check_characters(uri, field=field, limit=URI_MAX_CHARACTERS)
    if not _URI.fullmatch(uri):
        raise refuse(FieldInvalid, field, "This is no absolute URI such as s3://bucket/folder.")
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise refuse(FieldInvalid, field, "The host of this URI cannot be read.") from None
    user, at, _ = parts.netloc.rpartition("@")
    if at and (":" in user or parts.scheme in {"http", "https"}):
        raise refuse(
            FieldInvalid, field, "Credentials do not belong into a record: leave them out."
        )


def entry(field: str, key: str) -> str:
    """The path of an entry of a map, such as `version.tags["team"]`."""
    return f"{field}[{json.dumps(key[:KEY_MAX_CHARACTERS])}]"


def shown(text: str, *, limit: int = 80) -> str:
    """A text as a sentence may quote it: on one line, escaped, not too long."""
    return ascii(text) if len(text) <= limit else f"{text[:limit]!a}…"


def _check_texts(texts: Mapping[str, str], *, field: str, limit: int, limit_bytes: int) -> None:
    check_count(texts, field=field, limit=limit)
    check_keys(texts, field=field)
    for key, value in texts.items():
        check_bytes(value, field=entry(field, key), limit_bytes=limit_bytes)


def _check_storable(text: str, *, field: str) -> int:
    """Bytes of a text in UTF-8. PostgreSQL stores no NUL."""
    if "\x00" in text:
        raise refuse(FieldInvalid, field, "NUL characters cannot be stored.")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise refuse(FieldInvalid, field, "This is not valid Unicode.") from None


def _too_long(length: int, limit: int, unit: str) -> str:
    return f"{length} {unit} are too many; {limit} is the most."
