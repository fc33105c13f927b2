"""Pages of lists, and the tokens that continue them."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from herdbook_server.errors import FieldInvalid, PageTokenInvalid
from herdbook_server.ports.queries import Found, Position, Scalar
from herdbook_server.registry.rules import refuse

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000

_SEAL_BYTES = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list."""

    items: tuple[T, ...]
    next_page_token: str
    """Continues the list; empty on the last page."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What makes one list different from another: a token of one is refused by all others."""

    kind: str
    asked: tuple[Scalar | None, ...]
    """Filter, order and whatever else decides what is listed and how."""

    def token(self, position: Position | None) -> str:
        """The token of the page that starts after a position; empty for none."""
        if position is None:
            return ""
        payload = json.dumps(position, separators=(",", ":")).encode()
        sealed = base64.urlsafe_b64encode(self._seal(payload) + payload)
        return sealed.rstrip(b"=").decode()

    def position(self, token: str) -> Position | None:
        """Where a token's page starts; None for the first page.

        Raises:
            PageTokenInvalid: This list did not make it.
        """
        if not token:
            return None
        sealed = _decoded(token)
        payload = sealed[_SEAL_BYTES:]
        if sealed[:_SEAL_BYTES] != self._seal(payload):
            raise token_refused()
        return _scalars(payload)

    def page(self, found: Found[T]) -> Page[T]:
        """What was found, with the token of the next page."""
        return Page(found.items, self.token(found.next))

    def _seal(self, payload: bytes) -> bytes:
        """Tells tokens of other lists, and damaged ones; no secret, as a token grants nothing."""
        asked = json.dumps([self.kind, *self.asked]).encode()
        return hashlib.sha256(asked + b"\n" + payload).digest()[:_SEAL_BYTES]


def page_limit(page_size: int) -> int:
    """How many items a page takes at most; 0 leaves it to us, and too many are cut to the limit.

    Raises:
        FieldInvalid: The size is negative.
    """
    if page_size < 0:
        raise refuse(FieldInvalid, "page_size", f"A page has no {page_size} items.")
    return min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def cut(rows: Sequence[T], limit: int) -> tuple[tuple[T, ...], T | None]:
    """The first `limit` of `limit + 1` rows, and the last of them if there are more."""
    items = tuple(rows[:limit])
    return items, items[-1] if len(rows) > limit else None


def _decoded(token: str) -> bytes:
    padding = "=" * (-len(token) % 4)
    try:
        return base64.b64decode(token + padding, altchars=b"-_", validate=True)
    except ValueError:
        raise token_refused() from None


def _scalars(payload: bytes) -> Position:
    """What a position holds: whoever forges one may put anything there."""
    try:
        position = json.loads(payload)
    except (ValueError, RecursionError):
        raise token_refused() from None
    if not isinstance(position, list) or not all(map(_is_storable, position)):
        raise token_refused()
    return tuple(position)


def _is_storable(item: object) -> bool:
    """Whether a database could have held an item of a position."""
    if isinstance(item, str):
        return "\x00" not in item and not any("\ud800" <= letter <= "\udfff" for letter in item)
    if isinstance(item, int) and not isinstance(item, bool):
        return abs(item) < 2**63
    return item is None or (isinstance(item, float) and not math.isnan(item))


def token_refused() -> PageTokenInvalid:
    """An error that blames a page token."""
    return refuse(
        PageTokenInvalid,
        "page_token",
        "This token continues another list: keep the other fields as they were, or start anew.",
    )
