"""Plans of searches: which index drives one, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from herdbook_server.storage.sql.drivers import Driver
from herdbook_server.storage.sql.fields import Source
from herdbook_server.storage.sql.ordering import Term

COUNTED: Final = 8192
"""Matches of a condition are counted up to here."""

UNCOUNTED_SHARE: Final = 0.25
"""The share of all rows that a condition is taken to match if it matches too many to count."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What drives a search; without order and drivers, all rows are looked at."""

    in_order: bool = False
    """Whether rows come in the order asked for."""
    drivers: tuple[Driver, ...] = ()
    """In order: conditions that narrow the walk. Else: the condition that yields the rows."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk along the index of an order, and which conditions narrow it."""

    source: Source
    lead: Term
    """The first term of the order."""
    in_own_order: bool
    """Whether the order is the one that indexes of the table go on with."""

    @classmethod
    def along(cls, source: Source, terms: Sequence[Term]) -> Walk | None:
        """Return the walk in the order of the terms; None if no index has it."""
        if not terms[0].indexed:
            return None
        return cls(source, terms[0], is_own_order(source, terms))

    def follows(self, drivers: Sequence[Driver]) -> bool:
        """Tell whether one index takes all of the conditions into account."""
        own = [driver for driver in drivers if self.narrows_by_value(driver)]
        ranges = [driver for driver in drivers if self.narrows_by_range(driver)]
        models = [driver for driver in own if is_model(driver)]
        return len(own) + len(ranges) == len(drivers) and len(own) - len(models) <= 1

    def narrows_by_range(self, driver: Driver) -> bool:
        """Tell whether the condition is about what is walked along."""
        return driver.field == self.lead.field

    def narrows_by_value(self, driver: Driver) -> bool:
        """Tell whether an index has the rows that meet the condition in the order of the walk."""
        if not self.in_own_order or driver.field is None or self.narrows_by_range(driver):
            return False
        column = self.source.column(driver.field.name)
        return column is not None and column.ordered and driver.is_equality

    def narrowing(self, matches: Mapping[Driver, float]) -> tuple[Driver, ...]:
        """Return the drivers to walk by: of several values, that of the fewest rows."""
        ranges = [driver for driver in matches if self.narrows_by_range(driver)]
        own = [driver for driver in matches if self.narrows_by_value(driver)]
        models = [driver for driver in own if is_model(driver)]
        others = sorted((driver for driver in own if driver not in models), key=matches.__getitem__)
        return (*ranges, *models, *others[:1])


def is_own_order(source: Source, terms: Sequence[Term]) -> bool:
    """Tell whether terms are the table's own order, or its end, or that read backwards."""
    own = source.order[len(source.order) - len(terms) :]
    if len(own) != len(terms) or any(term.keyed for term in terms):
        return False
    turns = {
        None if term.field.name != name else term.descending == descending
        for term, (name, descending) in zip(terms, own, strict=True)
    }
    return len(turns) == 1 and None not in turns


def is_model(driver: Driver) -> bool:
    """Tell whether the condition picks one model."""
    return driver.field is not None and driver.field.name == "model" and driver.is_equality


def cheapest(walk: Walk | None, counts: Mapping[Driver, int], *, total: int, limit: int) -> Plan:
    """Return the plan that looks at the fewest rows.

    A walk in order looks at `limit` rows, divided by the share that each other condition lets
    through. A driver looks at all that it matches, however few are asked for.
    """
    rows = max(total, 1)
    many = max(float(COUNTED), rows * UNCOUNTED_SHARE)
    matches = {
        driver: min(many if count >= COUNTED else float(count), float(rows))
        for driver, count in counts.items()
    }
    best = min(matches, key=matches.__getitem__)
    if walk is None:
        return Plan(drivers=(best,))
    narrowing = walk.narrowing(matches)
    shares = (max(n, 1.0) / rows for driver, n in matches.items() if driver not in narrowing)
    steps = min(limit / math.prod(shares), *(matches[driver] for driver in narrowing), float(rows))
    if steps <= matches[best]:
        return Plan(in_order=True, drivers=narrowing)
    return Plan(drivers=(best,))
