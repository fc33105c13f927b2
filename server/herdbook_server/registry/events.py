"""Events: what each revision did, in the order of their commits."""

from __future__ import annotations

from dataclasses import dataclass

from herdbook_server.errors import FieldInvalid
from herdbook_server.ports.database import Database
from herdbook_server.ports.queries import All, Comparison, Condition, Field, Query, SortKey
from herdbook_server.ports.values import Event
from herdbook_server.registry import rules
from herdbook_server.registry.filters import EVENT_FIELDS, parse_filter
from herdbook_server.registry.pages import Listing, page_limit
from herdbook_server.registry.sizes import event_size_bytes, search_fitting


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events."""

    items: tuple[Event, ...]
    next_page_token: str
    """Continues the list; empty on the last page."""
    revision: int
    """The registry's revision: the last page holds every matching event up to here, at least."""


class EventLog:
    """The record of changes."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def search(
        self,
        *,
        after_revision: int = 0,
        model: str | None = None,
        filter: str = "",  # the contract's word
        descending: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> EventPage:
        """A page of the events that match, oldest first unless descending.

        Raises:
            FilterInvalid, PageTokenInvalid, FieldInvalid, NameInvalid: The request is wrong.
        """
        if model is not None:
            rules.check_name(model)
        if after_revision < 0:
            raise rules.refuse(FieldInvalid, "after_revision", "Revisions are not negative.")
        listing = Listing("events", (after_revision, model, filter, descending))
        query = Query(
            where=_where(after_revision, parse_filter(filter, EVENT_FIELDS)),
            order=(SortKey(Field("revision"), descending=descending),),
            limit=page_limit(page_size),
            after=listing.position(page_token),
            model=model,
        )
        # Read first: what is committed in between may be on the page, but nothing older is missing.
        revision = await self._database.revision()
        async with self._database.read() as records:
            found = await search_fitting(records.events.search, query, event_size_bytes)
        page = listing.page(found)
        return EventPage(page.items, page.next_page_token, revision)


def _where(after_revision: int, condition: Condition | None) -> Condition | None:
    if not after_revision:
        return condition
    later = Comparison(Field("revision"), ">", after_revision)
    return later if condition is None else All((later, condition))
