"""Counts what a transfer moves and saves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from herdbook.core.values import TransferProgress, TransferReport


class Meter:
    """Counts bytes from several threads and tells a callback, never twice at once."""

    def __init__(
        self, total_bytes: int, progress: Callable[[TransferProgress], None] | None = None
    ) -> None:
        self._total_bytes = total_bytes
        self._progress = progress
        self._lock = threading.Lock()
        self._moved_bytes = 0
        self._saved_bytes = 0
        self._started = time.monotonic()

    def add(self, *, moved_bytes: int = 0, saved_bytes: int = 0) -> None:
        """Counts; what has to be moved again is taken back with a negative number."""
        with self._lock:
            self._moved_bytes += moved_bytes
            self._saved_bytes += saved_bytes
            if self._progress is not None:
                self._progress(
                    TransferProgress(self._total_bytes, self._moved_bytes, self._saved_bytes)
                )

    def report(self) -> TransferReport:
        """Returns what it has counted."""
        with self._lock:
            return TransferReport(
                total_bytes=self._total_bytes,
                moved_bytes=self._moved_bytes,
                saved_bytes=self._saved_bytes,
                seconds=time.monotonic() - self._started,
            )
