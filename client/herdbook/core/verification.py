"""What a verification has found so far, part by part."""

from __future__ import annotations

from collections.abc import Callable

from herdbook.core.operations.artifacts import Verified
from herdbook.core.values import LostChunk, VerificationProgress, VerificationReport


class Tally:
    """Sums up the parts of one verification."""

    def __init__(self, progress: Callable[[VerificationProgress], None] | None) -> None:
        """Starts with nothing; tells `progress` of each part."""
        self._progress = progress
        self._total_bytes = 0
        self._checked_count = 0
        self._checked_bytes = 0
        self._lost: list[LostChunk] = []

    def add(self, part: Verified) -> None:
        """Takes a part."""
        self._total_bytes += part.total_bytes
        self._checked_count += part.report.checked_count
        self._checked_bytes += part.report.checked_bytes
        self._lost += part.report.lost
        if self._progress is not None:
            self._progress(VerificationProgress(self._total_bytes, self._checked_bytes))

    @property
    def report(self) -> VerificationReport:
        """What was found."""
        return VerificationReport(self._checked_count, self._checked_bytes, tuple(self._lost))
