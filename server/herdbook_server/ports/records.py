"""The record as gateways, one for each kind of row.

All belong to one transaction and see what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from herdbook_server.ports.queries import Found, Query
from herdbook_server.ports.references import Reference
from herdbook_server.ports.values import (
    Alias,
    AliasMove,
    ChunkRef,
    Convergence,
    Event,
    File,
    Model,
    ReplicaReport,
    RequestRecord,
    Resolution,
    Stage,
    Version,
)


class Models(Protocol):
    """Rows of models, deleted ones included."""

    async def get(self, name: str) -> Model | None:
        """One model by name."""
        ...

    async def insert(self, model: Model) -> None:
        """Adds a model. Raises ModelExists if the name is taken."""
        ...

    async def save(self, model: Model) -> None:
        """Stores description, tags, times of update and deletion, and revision of a model."""
        ...

    async def next_number(self, name: str) -> int:
        """Takes the model's next version number: 1, 2, 3 …, never the same again once committed."""
        ...

    async def recount(self, name: str, *, change: int) -> None:
        """Adds `change` to the model's version count and looks its latest version up again."""
        ...

    async def search(self, query: Query) -> Found[Model]:
        """Models that match, at the cost of an index look-up for the usual filters."""
        ...


class Versions(Protocol):
    """Rows of versions, deleted ones included unless said otherwise."""

    async def get(self, model: str, number: int) -> Version | None:
        """One version by number."""
        ...

    async def get_by_label(self, model: str, label: str) -> Version | None:
        """One version by label."""
        ...

    async def resolve(self, reference: Reference) -> Resolution | None:
        """What a reference names now, in one query.

        None if the model, the version or the alias is absent or deleted.
        """
        ...

    async def resolve_many(self, references: Sequence[Reference]) -> Sequence[Resolution | None]:
        """The same for many references, in a few queries; answers in the order asked."""
        ...

    async def insert(self, version: Version) -> None:
        """Adds a version with its params, metrics and tags. Raises LabelExists."""
        ...

    async def save(self, version: Version) -> None:
        """Stores label, description, tags, stage, update, deletion and purge time and revision.

        A version that is purged does not use its manifest any more. Raises LabelExists.
        """
        ...

    async def archive_others(
        self, version: Version, stage: Stage, *, time_us: int, revision: int
    ) -> Sequence[int]:
        """Archives the model's versions in a stage that are not deleted, but for `version`.

        Returns their numbers, ascending. Costs memory for these alone.
        """
        ...

    async def expired(self, before_us: int, *, limit: int) -> Sequence[tuple[str, int]]:
        """Models and numbers of versions with a manifest that were deleted before a time.

        They, or their models; not all, but some as long as there are any.
        """
        ...

    async def expired_count(self, before_us: int) -> int:
        """How many there are."""
        ...

    async def search(self, query: Query) -> Found[Version]:
        """Versions that match, at the cost of an index look-up for the usual filters.

        Without the packages of their environments. A page may end before `limit` where it would
        take several megabytes; then `next` says where to go on.
        """
        ...


class Aliases(Protocol):
    """Rows of aliases and the history of their moves."""

    async def get(self, model: str, alias: str) -> Alias | None:
        """One alias."""
        ...

    async def of_version(self, model: str, number: int) -> Sequence[Alias]:
        """Aliases that point at a version, by name."""
        ...

    async def of_model(self, model: str, *, after: str = "", limit: int) -> Sequence[Alias]:
        """Aliases of a model whose name sorts after `after`, by name, in code point order."""
        ...

    async def under_prefix(self, prefix: str, *, limit: int) -> Sequence[Alias]:
        """Aliases of models that are not deleted and whose name starts with `prefix`."""
        ...

    async def put(self, alias: Alias) -> None:
        """Adds the alias or replaces where it points."""
        ...

    async def delete(self, model: str, alias: str) -> None:
        """Deletes the alias; its history stays."""
        ...

    async def add_move(self, move: AliasMove) -> None:
        """Adds a move to the history."""
        ...

    async def get_move(self, model: str, alias: str, revision: int) -> AliasMove | None:
        """One move of an alias."""
        ...

    async def moves(
        self, model: str, alias: str | None, *, before: tuple[int, str] | None = None, limit: int
    ) -> Sequence[AliasMove]:
        """Moves of an alias or of all aliases of a model, newest first, then by alias.

        `before` is (revision, alias).
        """
        ...


class Events(Protocol):
    """What each revision did."""

    async def add(self, events: Iterable[Event]) -> None:
        """Adds events of this transaction's revision."""
        ...

    async def after(self, revision: int, *, limit: int) -> Sequence[Event]:
        """Events of later revisions, oldest first.

        Whole revisions, so possibly a few more than `limit`.
        """
        ...

    async def search(self, query: Query) -> Found[Event]:
        """Events that match. Sort keys may name `revision` alone."""
        ...


class Requests(Protocol):
    """First answers, by request id."""

    async def get(self, request_id: str) -> RequestRecord | None:
        """The first answer to a request id."""
        ...

    async def add(self, record: RequestRecord) -> None:
        """Remembers a first answer. Raises RequestIdReused if the id has one."""
        ...

    async def forget_before(self, time_us: int) -> int:
        """Forgets answers given before a time; how many."""
        ...


class Manifests(Protocol):
    """Manifests by digest; shared by all versions of the same content."""

    async def insert(self, digest: bytes, files: Sequence[File], *, time_us: int) -> None:
        """Stores a manifest.

        If it is there already, only notes the time, which keeps garbage collection off it.
        """
        ...

    async def files(self, digest: bytes, *, after: str | None = None, limit: int) -> Sequence[File]:
        """Files sorted by the bytes of their paths."""
        ...

    async def file(self, digest: bytes, path: str) -> File | None:
        """One file."""
        ...

    async def listed(self, digest: bytes, chunks: Sequence[bytes]) -> Mapping[bytes, int]:
        """Those of the given chunks that the manifest lists, with their sizes in bytes."""
        ...

    async def chunks(self, digest: bytes, *, after: bytes, limit: int) -> Sequence[ChunkRef]:
        """Chunks that the manifest lists, each once, behind a digest, by digest."""
        ...

    async def chunk_total(self, digest: bytes) -> tuple[int, int]:
        """How many chunks the manifest lists, each counted once, and their bytes."""
        ...

    async def versions_listing(self, chunk: bytes, *, limit: int) -> Sequence[tuple[str, int]]:
        """Models and numbers of versions whose manifest lists a chunk, deleted ones included."""
        ...

    async def delete_unused(self, before_us: int, *, limit: int) -> int:
        """Deletes manifests that no version has and that were last stored before a time.

        A deleted version still has its manifest, a purged one has not. Returns how many went.
        """
        ...


class Chunks(Protocol):
    """The chunk index: which chunks are stored, and which model may know of them.

    A chunk goes through `writing` → `stored` → `deleting` → gone. Reserving before bytes are
    written, and refusing to reserve what is being deleted, keeps garbage collection and uploads
    apart without a lock held across I/O.

    A touch need not be recorded if another one was within the hour before, so a chunk may look as
    if it was last touched up to an hour earlier than it was. What a manifest lists is safe whatever
    the times: `condemn` and `absent` with what follows it in its transaction exclude each other.
    """

    async def missing(
        self, model: str, digests: Sequence[bytes], *, time_us: int
    ) -> Sequence[bytes]:
        """Those of the digests that are not stored for the model, in order, each once.

        Touches the others.
        """
        ...

    async def reserve(self, chunks: Sequence[ChunkRef], *, time_us: int) -> Mapping[bytes, bool]:
        """Touches chunks, adding absent ones as `writing`.

        Maps each digest that may be written to whether its bytes are stored already. A chunk that
        is being deleted is left out: try again once it is gone. One that was condemned five minutes
        ago or earlier is taken over: whoever condemned it did not live to delete it.
        """
        ...

    async def commit(self, model: str, digests: Sequence[bytes], *, time_us: int) -> None:
        """Marks reserved chunks `stored` and known to the model. Their bytes are durable."""
        ...

    async def lose(self, digests: Sequence[bytes]) -> Sequence[bytes]:
        """Makes expected chunks count as missing: their bytes turned out to be gone.

        Returns those that were expected, and are lost; the others may have been collected.
        """
        ...

    async def regain(self, digests: Sequence[bytes]) -> None:
        """Makes lost chunks that a manifest lists count as stored: their bytes are there again."""
        ...

    async def expected(self, *, after: bytes, limit: int) -> Sequence[ChunkRef]:
        """Chunks whose bytes should be there, behind a digest, by digest.

        Those that are stored, and those that are not though a manifest lists them.
        """
        ...

    async def expected_total(self) -> tuple[int, int]:
        """How many chunks `expected` would give in all, and their bytes."""
        ...

    async def absent(
        self, model: str, chunks: Sequence[ChunkRef], *, time_us: int
    ) -> Sequence[bytes]:
        """Those that are not stored for the model with exactly that size.

        Touches the others, for the transaction that is about to list them.
        """
        ...

    async def garbage(self, before_us: int, *, time_us: int, limit: int) -> Sequence[ChunkRef]:
        """Chunks that no manifest lists and that were last touched before a time.

        Also those condemned five minutes ago or earlier: what was condemned more recently belongs
        to a collection that is perhaps at work. The longest untouched come first, and what an
        earlier collection could not delete therefore after the rest of that time. Each call reads
        the whole index, so ask for many at a time.
        """
        ...

    async def garbage_total(self, before_us: int, *, time_us: int) -> tuple[int, int]:
        """How many chunks `garbage` would find in all, and their bytes."""
        ...

    async def condemn(
        self, digests: Sequence[bytes], *, before_us: int, time_us: int
    ) -> Sequence[ChunkRef]:
        """Marks as `deleting` those that are still garbage, and returns them.

        Which models knew them is forgotten. Their bytes are to be deleted within five minutes, or
        not at all: then others may take the chunks over.
        """
        ...

    async def forget(self, digests: Sequence[bytes], *, condemned_at_us: int) -> None:
        """Deletes index rows of chunks whose bytes are gone, if they were condemned at that time.

        A row that somebody took over meanwhile stays.
        """
        ...

    async def spare(
        self, digests: Sequence[bytes], *, condemned_at_us: int, before_us: int
    ) -> None:
        """Lets others have chunks that could not be deleted, if they were condemned at that time.

        They count as missing, and are garbage until somebody uploads them, as if they had last
        been touched shortly before a time.
        """
        ...


class Replicas(Protocol):
    """Reports of replicas with the leases that keep them live. No part of the record."""

    async def put(self, reports: Iterable[ReplicaReport], *, expires_at_us: int) -> None:
        """Stores what replicas say, each of a reference, and extends their leases.

        Replaces what they said before.
        """
        ...

    async def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """Deletes, for (replica id, reference), what was said, and the leases."""
        ...

    async def add(self, reports: Iterable[ReplicaReport], *, expires_at_us: int) -> None:
        """Stores that replicas watch references, unless they have said something of them."""
        ...

    async def renew(
        self, keys: Sequence[tuple[str, str]], *, expires_at_us: int
    ) -> Sequence[tuple[str, str]]:
        """Extends leases of (replica id, reference); returns those that have no row any more."""
        ...

    async def renew_below(self, keys: Sequence[tuple[str, str]], *, expires_at_us: int) -> set[str]:
        """Extends, for (replica id, prefix), the leases of what it said of models below that.

        Returns the references that it said something of.
        """
        ...

    async def live(
        self,
        *,
        now_us: int,
        reference: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int,
    ) -> Sequence[ReplicaReport]:
        """Reports whose lease has not run out, by (replica id, reference)."""
        ...

    async def convergence(self, reference: str, target: int, *, now_us: int) -> Convergence:
        """Counts the live replicas of a reference against the version that it should name.

        `target` is 0 if the reference names nothing: then nobody has converged, and nobody failed.
        """
        ...

    async def count_by_state(self, *, now_us: int) -> Mapping[str, int]:
        """Counts what live replicas have said of references, by state."""
        ...

    async def serving(
        self, model: str, number: int | None, *, now_us: int
    ) -> Sequence[ReplicaReport]:
        """Live replicas that serve a version, or any version, of a model; 100 at most."""
        ...

    async def forget_before(self, time_us: int) -> int:
        """Deletes rows whose lease ran out before a time; how many."""
        ...


class Duties(Protocol):
    """What one server of many does now and then. No part of the record."""

    async def take(self, name: str, *, done_before_us: int, time_us: int, until_us: int) -> bool:
        """Takes a duty, until a time, if it was last done before one and nobody has it now.

        Returns whether it did.
        """
        ...

    async def done(self, name: str, *, time_us: int) -> None:
        """Notes that a duty has been done, and gives it back."""
        ...


class Records(Protocol):
    """The gateways of one transaction."""

    @property
    def models(self) -> Models:
        """Rows of models."""
        ...

    @property
    def versions(self) -> Versions:
        """Rows of versions."""
        ...

    @property
    def aliases(self) -> Aliases:
        """Rows of aliases and their history."""
        ...

    @property
    def events(self) -> Events:
        """What each revision did."""
        ...

    @property
    def requests(self) -> Requests:
        """First answers, by request id."""
        ...

    @property
    def manifests(self) -> Manifests:
        """Manifests by digest."""
        ...

    @property
    def chunks(self) -> Chunks:
        """The chunk index."""
        ...

    @property
    def duties(self) -> Duties:
        """What one server of many does now and then."""
        ...

    @property
    def replicas(self) -> Replicas:
        """Reports of replicas."""
        ...
