"""What can go wrong with a live model."""

from __future__ import annotations

from herdbook.errors import FailedPrecondition, Unavailable


class FirstLoadFailed(FailedPrecondition):
    """No first model could be served; the cause says why."""


class NotServing(Unavailable):
    """No model serves at this moment."""


class ValidationFailed(FailedPrecondition):
    """The candidate was loaded, and `validate` turned it down."""


class LeasesHeld(FailedPrecondition):
    """The model that serves could not be unloaded: it is still leased."""
