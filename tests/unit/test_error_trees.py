"""Server and client speak of errors in one tree."""

from __future__ import annotations

from collections.abc import Iterator

import herdbook.errors
import herdbook_server.errors


def leaves(error: type[Exception]) -> Iterator[type[Exception]]:
    """Classes below an error that have none below them."""
    kinds = error.__subclasses__()
    if not kinds:
        yield error
    for kind in kinds:
        yield from leaves(kind)


def test_the_client_raises_each_refusal_of_the_server_by_its_name_under_the_same_status() -> None:
    for refusal in leaves(herdbook_server.errors.HerdbookError):
        raised = getattr(herdbook.errors, refusal.__name__)
        assert raised.__mro__[1].__name__ == refusal.__mro__[1].__name__, refusal
        assert getattr(herdbook, refusal.__name__) is raised
