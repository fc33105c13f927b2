"""What can go wrong with a live model."""

from __future__ import annotations

import traceback

from herdbook.errors import FailedPrecondition, Unavailable


class FirstLoadFailed(FailedPrecondition):
    """No first model could be served; the cause says why."""


class NotServing(Unavailable):
    """No model serves at this moment."""


class ValidationFailed(FailedPrecondition):
    """The candidate was loaded, and `validate` turned it down."""


class LoadTimedOut(FailedPrecondition):
    """The candidate was not loaded, warmed up and validated in time."""


class LeasesHeld(FailedPrecondition):
    """The model that serves could not be unloaded: it is still leased."""


def forget_locals(error: BaseException) -> None:
    """Keeps the traceback but not the variables of its frames: among them may be a whole model."""
    chain: BaseException | None = error
    seen = set()
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


def words_of(error: BaseException) -> str:
    """Returns what an error of anybody's says, as text that can be stored and sent."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - it is the user's code
        text = f"(its message raised {type(failure).__name__})"
    # Names of files may hold bytes that are no text, and databases store no NUL.
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
