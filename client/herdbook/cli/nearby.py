"""Guesses what was meant where a name names nothing."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Final

from herdbook.errors import AliasNotFound, HerdbookError, ModelNotFound

if TYPE_CHECKING:
    from herdbook.client import Client

_CONSIDERED: Final = 1000


def nearby(client: Client, error: BaseException) -> str:
    """Returns the name, among those that there are, that was perhaps meant; empty if none."""
    if not isinstance(error, ModelNotFound | AliasNotFound) or not error.details.resource_name:
        return ""
    meant = error.details.resource_name
    try:
        names = list(islice(_names(client, error, meant), _CONSIDERED))
    except HerdbookError:
        return ""
    return next(iter(get_close_matches(meant, names, n=1)), "")


def _names(client: Client, error: HerdbookError, meant: str) -> Iterable[str]:
    if isinstance(error, ModelNotFound):
        return (model.name for model in client.list_models())
    model, _, _ = meant.partition("@")
    return (f"{model}@{alias.alias}" for alias in client.list_aliases(model))
