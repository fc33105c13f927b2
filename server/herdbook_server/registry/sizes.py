"""How large things are on the wire, near enough to keep every message under 4 MiB.

Sizes err on the high side. They follow Protocol Buffers' encoding, which the domain does not know:
a tag and a length for each text, ten bytes for the longest number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from herdbook_server.ports.queries import Found, Query
from herdbook_server.ports.values import JSON, AliasMove, Description, Event, Model, Version

PAGE_MAX_BYTES = 3 * 1024 * 1024
BATCH_ITEMS = 100
"""Items read at once, so that a page of heavy ones is not read whole before it is cut."""

_FIXED_BYTES = 256
"""Numbers, times and tags of a message."""
_TEXT_BYTES = 8
"""Tag and length of a text, and of the map entry or list item around it."""
_NUMBER_BYTES = 16

T = TypeVar("T")


def json_size_bytes(value: JSON) -> int:
    """Bytes of what JSON holds. Takes any depth."""
    size, open_values = 0, [value]
    while open_values:
        item = open_values.pop()
        if isinstance(item, str):
            size += _TEXT_BYTES + len(item.encode())
        elif isinstance(item, dict):
            open_values += item.keys()
            open_values += item.values()
        elif isinstance(item, list | tuple):
            size += _TEXT_BYTES
            open_values += item
        else:
            size += _NUMBER_BYTES
    return size


def description_size_bytes(about: Description) -> int:
    """Bytes of what is said of a version."""
    return json_size_bytes(
        [
            about.label,
            about.description,
            dict(about.tags),
            about.author,
            dict(about.params),
            dict(about.metrics),
            about.signature,
            about.input_example,
            about.framework,
            about.format,
            about.lineage,
            about.environment,
        ]
    )


def listed_size_bytes(version: Version) -> int:
    """Bytes of a version as lists show it: without its packages."""
    about = version.about
    if about.environment:
        about = replace(about, environment={**about.environment, "packages": {}})
    texts = [version.model, version.contents.source_uri, *version.aliases]
    return _FIXED_BYTES + json_size_bytes(texts) + description_size_bytes(about)


def model_size_bytes(model: Model) -> int:
    """Bytes of a model."""
    return _FIXED_BYTES + json_size_bytes(
        [model.name, model.description, dict(model.tags), model.author]
    )


def event_size_bytes(event: Event) -> int:
    """Bytes of an event."""
    return _FIXED_BYTES + json_size_bytes(
        [event.model, event.alias, event.from_value, event.to_value, event.actor, event.reason]
    )


def move_size_bytes(move: AliasMove) -> int:
    """Bytes of a move."""
    return _FIXED_BYTES + json_size_bytes([move.model, move.alias, move.actor, move.reason])


def fitting(
    items: Sequence[T], size_bytes: Callable[[T], int], *, room_bytes: int = PAGE_MAX_BYTES
) -> tuple[int, int]:
    """How many of the first items fit the room, and how many bytes they take."""
    total = 0
    for count, item in enumerate(items):
        size = size_bytes(item)
        if total + size > room_bytes:
            return count, total
        total += size
    return len(items), total


async def search_fitting(
    search: Callable[[Query], Awaitable[Found[T]]], query: Query, size_bytes: Callable[[T], int]
) -> Found[T]:
    """A page of a search that fits one message: shorter than asked for if its items are heavy."""
    items: list[T] = []
    room = PAGE_MAX_BYTES
    limit, after = min(query.limit, BATCH_ITEMS), query.after
    while True:
        found = await search(replace(query, limit=limit, after=after))
        fit, used = fitting(found.items, size_bytes, room_bytes=room)
        if fit < len(found.items) and not items and limit == 1:
            return found
        if fit == len(found.items):
            items += found.items
            room -= used
            limit, after = min(query.limit - len(items), BATCH_ITEMS), found.next
            if after is None or limit == 0:
                return Found(tuple(items), after)
        elif fit or not items:
            # Only the search knows the position of an item in the middle.
            limit = max(fit, 1)
        else:
            return Found(tuple(items), after)
