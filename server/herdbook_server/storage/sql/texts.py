"""Texts of any length that an index can hold: their first characters, and the rest."""

from __future__ import annotations

import sys

HEAD = 128
"""How many characters are indexed; an index entry of PostgreSQL takes 2,704 bytes at most."""

FIRST_SURROGATE, AFTER_SURROGATES = 0xD800, 0xE000


def split(text: str) -> tuple[str, str]:
    """Return the indexed characters and the rest; pairs sort as the texts do."""
    return text[:HEAD], text[HEAD:]


def after_prefix(prefix: str) -> str | None:
    """Return the least text that sorts after all that start with `prefix`.

    Texts sort by code point. None if there is no such text.
    """
    while prefix:
        following = ord(prefix[-1]) + 1
        if following <= sys.maxunicode:
            surrogate = FIRST_SURROGATE <= following < AFTER_SURROGATES
            return prefix[:-1] + chr(AFTER_SURROGATES if surrogate else following)
        prefix = prefix[:-1]
    return None
