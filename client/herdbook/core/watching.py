"""The state of a watch, over all its connections: what is known, what is news, when to return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from herdbook.core import wire
from herdbook.core.references import parse_reference
from herdbook.core.retrying import Backoff
from herdbook.core.values import Bookmark, ReferenceState, Replica
from herdbook.errors import (
    ClientClosed,
    EncryptionMismatch,
    ForkedProcess,
    HerdbookError,
    InvalidArgument,
    PermissionDenied,
    ReferenceInvalid,
    ResponseInvalid,
    Unauthenticated,
    Unimplemented,
    WatchTooWide,
)
from herdbook.v1 import alias_pb2

BACKOFF: Final = Backoff(first_seconds=0.4, longest_seconds=15.0)

METHOD: Final = "/herdbook.v1.AliasService/WatchAliases"

SILENCE_SECONDS: Final = 75.0
"""A connection without a word for this long is given up: bookmarks come every 30 seconds."""

_ENDS = (ClientClosed, ForkedProcess, WatchTooWide)
_REFUSALS = (
    EncryptionMismatch,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)
_STALE_BOOKMARKS = 3


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke; the watch comes back by itself."""

    error: HerdbookError

    retry_in_seconds: float
    """When it will."""


WatchUpdate: TypeAlias = ReferenceState | Bookmark | Disconnected
"""What a watch tells."""

OnContact: TypeAlias = Callable[[HerdbookError | None], object]
"""Hears why a connection broke, and None when all has been told anew."""


def tell_contact(update: WatchUpdate, on_contact: OnContact | None) -> None:
    """Has whoever cares hear what an update says of the connection."""
    if on_contact is None:
        return
    match update:
        case Disconnected():
            on_contact(update.error)
        case Bookmark() if update.initial_done:
            on_contact(None)


class Watch:
    """One watch, which outlives its connections.

    States of one reference are told with growing revisions, and only if they say something new.
    """

    def __init__(
        self,
        references: Iterable[str],
        *,
        prefixes: Iterable[str] = (),
        known: Iterable[ReferenceState] = (),
        replica: Replica | None = None,
    ) -> None:
        """Starts a watch that has told `known` before.

        Raises:
            ReferenceInvalid: Something is no reference, or there is nothing to watch.
        """
        self._references = tuple(dict.fromkeys(references))
        self._prefixes = tuple(dict.fromkeys(prefixes))
        self._replica = replica
        self._known = {state.reference: state for state in known}
        self._admitted = False
        self._failures = 0
        self._stale_bookmarks = 0
        self._check()

    @classmethod
    def of(
        cls,
        references: str | Iterable[str],
        *,
        prefixes: Iterable[str] = (),
        known: Iterable[ReferenceState] = (),
        replica: Replica | None = None,
    ) -> Watch:
        """Starts a watch of one reference or of several."""
        several = [references] if isinstance(references, str) else references
        return cls(several, prefixes=prefixes, known=known, replica=replica)

    def _check(self) -> None:
        for reference in self._references:
            parse_reference(reference)
        if not self._references and not self._prefixes:
            raise ReferenceInvalid("There is nothing to watch: give references or prefixes.")

    @property
    def known(self) -> tuple[ReferenceState, ...]:
        """The last state of each reference."""
        return tuple(self._known.values())

    @property
    def admitted(self) -> bool:
        """Whether the server has ever answered."""
        return self._admitted

    @property
    def revision(self) -> int:
        """The highest revision of a known state."""
        return max((state.revision for state in self._known.values()), default=0)

    def request(self) -> alias_pb2.WatchAliasesRequest:
        """Returns what to ask with, on the first connection and on every later one."""
        self._stale_bookmarks = 0
        return alias_pb2.WatchAliasesRequest(
            references=self._references,
            model_prefixes=self._prefixes,
            known=[wire.reference_state_to_wire(state) for state in self._known.values()],
            replica=None if self._replica is None else wire.replica_to_wire(self._replica),
        )

    def read(self, data: bytes) -> ReferenceState | Bookmark | None:
        """Takes one message of the server, a WatchAliasesResponse; returns it if it is news.

        Raises:
            RegistryReset: The registry has been set back: connect again.
            ResponseInvalid: It cannot be read.
        """
        try:
            message = alias_pb2.WatchAliasesResponse.FromString(data)
        except DecodeError as error:
            raise ResponseInvalid("A message of the watch cannot be read.") from error
        self._admitted = True
        self._failures = 0
        update = wire.watch_update(message)
        if isinstance(update, ReferenceState):
            return update if self._is_news(update) else None
        if update is not None:
            self._notice_reset(update)
        return update

    def _is_news(self, state: ReferenceState) -> bool:
        before = self._known.get(state.reference)
        if before is not None and state.revision < before.revision:
            return False
        if state.resolution is None and state.reference not in self._references:
            return self._known.pop(state.reference, None) is not None
        self._known[state.reference] = state
        return before is None or (state.resolution, state.missing_reason) != (
            before.resolution,
            before.missing_reason,
        )

    def _notice_reset(self, bookmark: Bookmark) -> None:
        """Forgets what is known of a registry that has been set back, as from a backup.

        One server may lag behind another for a moment, so a single bookmark proves nothing.
        """
        self._stale_bookmarks = (
            self._stale_bookmarks + 1 if bookmark.revision < self.revision else 0
        )
        if self._stale_bookmarks >= _STALE_BOOKMARKS:
            self._known = {}
            raise RegistryReset

    def broke(self, error: HerdbookError, *, jitter: float) -> Disconnected:
        """Takes the end of a connection and says when to make the next.

        Args:
            error: How it ended.
            jitter: A random number from 0 to 1.

        Raises:
            HerdbookError: `error` itself, if the first connection of all was refused for good, or
                no further one can be made.
        """
        if isinstance(error, _ENDS) or (not self._admitted and isinstance(error, _REFUSALS)):
            raise error
        self._failures += 1
        return Disconnected(error, BACKOFF.delay_after(error, self._failures, jitter=jitter))


class RegistryReset(HerdbookError):
    """The registry has been set back: everything known of it is forgotten, and asked again."""
