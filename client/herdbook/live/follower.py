"""Hears what a reference names, over watches that end and begin again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from herdbook.core.values import Bookmark, ReferenceState
from herdbook.core.watching import Disconnected, WatchUpdate
from herdbook.errors import Cancelled
from herdbook.live import log, messages
from herdbook.live.registry import Registry
from herdbook.live.reporter import Reporter
from herdbook.live.settings import LiveSettings
from herdbook.transfer.cancellation import CancelToken
from herdbook.transport.jitter import jitter

_REFUSED_SECONDS = 60.0
"""How long a watch that was refused is left alone, at most."""


class Follower(threading.Thread):
    """Watches one reference until `stop` is called."""

    def __init__(
        self,
        settings: LiveSettings,
        registry: Registry,
        *,
        feed: Callable[[messages.Input], object],
        reporter: Reporter,
    ) -> None:
        """Will tell what it hears by `feed`."""
        super().__init__(name="herdbook-watch", daemon=True)
        self._settings = settings
        self._registry = registry
        self._feed = feed
        self._reporter = reporter
        self._cancel = CancelToken()
        self._in_contact = True

    def stop(self) -> None:
        """Breaks the open watch off, so that the registry counts this replica no longer."""
        self._cancel.cancel()

    def run(self) -> None:
        """Follows the reference until the end."""
        while not self._cancel.cancelled:
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001 - whatever it is, serving goes on
                if not self._cancel.cancelled:
                    self._lose(error, transient=False)
            with suppress(Cancelled):
                self._cancel.wait(_REFUSED_SECONDS * (0.5 + 0.5 * jitter()))

    def _follow(self) -> None:
        updates = self._registry.updates(
            self._settings.reference, self._settings.replica, self._cancel
        )
        for update in updates:
            if self._cancel.cancelled:
                return
            self._hear(update)

    def _hear(self, update: WatchUpdate) -> None:
        match update:
            case ReferenceState():
                self._feed(messages.Named(update.resolution, update.missing_reason or ""))
                if update.missing_reason:
                    log.warning(
                        "%s names no version (%s).",
                        self._settings.reference,
                        update.missing_reason,
                    )
                self._regain()
            case Bookmark():
                if update.initial_done:
                    # After a break the registry may have forgotten what this replica said.
                    self._reporter.repeat()
                self._feed(messages.Contact())
                self._regain()
            case Disconnected():
                self._lose(update.error, transient=True)

    def _regain(self) -> None:
        regained, self._in_contact = not self._in_contact, True
        if regained:
            log.info("%s is watched now.", self._settings.reference)

    def _lose(self, error: Exception, *, transient: bool) -> None:
        """Says so once for each loss: the watch is tried again for as long as it takes."""
        lost, self._in_contact = self._in_contact, False
        self._feed(messages.Lost(error, transient=transient))
        if lost:
            log.warning("%s is not watched for now: %s", self._settings.reference, error)
