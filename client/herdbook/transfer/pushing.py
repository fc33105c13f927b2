"""Sends the files of a new version, and registers it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from herdbook.core import planning
from herdbook.core.chunk_messages import encode_upload
from herdbook.core.manifests import manifest_of
from herdbook.core.operations import artifacts, versions
from herdbook.core.operations.operation import Operation, checked
from herdbook.core.references import check_alias, check_label, check_name
from herdbook.core.values import ChunkRef, File, Manifest, TransferProgress, Version
from herdbook.core.wire import version_to_wire
from herdbook.errors import ChunksMissing, HerdbookError
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.meter import Meter
from herdbook.transfer.persistence import Attempts, Persistence, stream_timeout_seconds
from herdbook.transfer.sources import OpenSource, Piece, Source, find_sources, pieces
from herdbook.transfer.workers import work_off
from herdbook.transport.caller import Caller
from herdbook.transport.request_ids import new_request_id

ResultT = TypeVar("ResultT")

BATCH_BYTES: Final = 16 * 1024 * 1024
"""Data that one thread holds, and one upload stream carries."""

BATCH_CHUNKS: Final = 1024

_REGISTRATIONS = 3


@dataclass(frozen=True, slots=True)
class Registration:
    """What becomes of the files when they have arrived."""

    version: Version
    aliases: tuple[str, ...]
    reason: str | None

    def check(self) -> None:
        """Raises what is wrong with the description, before any file is read."""
        checked(version_to_wire)(self.version)
        check_name(self.version.model)
        if self.version.label is not None:
            check_label(self.version.label)
        for alias in self.aliases:
            check_alias(alias)

    def operation(self, manifest: Manifest, request_id: str) -> Operation[Version]:
        """Describes the call that makes the version; with one id it makes one, however often."""
        return versions.register_version(
            self.version,
            manifest=manifest,
            aliases=self.aliases,
            reason=self.reason,
            request_id=request_id,
        )


def push(
    caller: Caller,
    registration: Registration,
    path: Path,
    *,
    progress: Callable[[TransferProgress], None] | None,
    cancel: CancelToken,
) -> Version:
    """Sends what the model does not have of the files at a path, then registers the version."""
    registration.check()
    sources = find_sources(path)
    meter = Meter(sum(source.size_bytes for source in sources), progress)
    upload = Upload(caller, registration.version.model, meter=meter, cancel=cancel)
    version = _sent_and_registered(registration, upload, sources)
    return replace(version, transfer=meter.report())


def _sent_and_registered(
    registration: Registration, upload: Upload, sources: list[Source]
) -> Version:
    request_id = new_request_id()
    for _ in range(_REGISTRATIONS - 1):
        try:
            return upload.call(registration.operation(upload.send(sources), request_id))
        except ChunksMissing:
            # Garbage collection with a very short grace time can come in between.
            upload.count_anew()
    return upload.call(registration.operation(upload.send(sources), request_id))


class Upload:
    """Sends chunks of one model: each thread reads, hashes, asks and sends one batch at a time."""

    def __init__(self, caller: Caller, model: str, *, meter: Meter, cancel: CancelToken) -> None:
        self._caller = caller
        self._model = model
        self._meter = meter
        self._cancel = cancel
        self._persistence = Persistence(cancel, caller.contact)
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()
        self._sent: set[bytes] = set()
        """Digests of what was counted as moved, in all rounds."""
        self._direct_offered = False

    def send(self, sources: list[Source]) -> Manifest:
        """Sends what is missing of the files and returns their manifest."""
        self._claimed = set()
        work_off(
            planning.batches(pieces(sources), max_bytes=BATCH_BYTES, max_count=BATCH_CHUNKS),
            self._send_batch,
            cancel=self._cancel,
        )
        return manifest_of(
            File(source.path, tuple(map(ChunkRef, source.sha256, source.cuts)))
            for source in sources
        )

    def count_anew(self) -> None:
        """Takes back what was counted as saved: all files are gone through once more."""
        self._meter.add(saved_bytes=-self._meter.report().saved_bytes)

    def call(self, operation: Operation[ResultT]) -> ResultT:
        """Makes a call that cannot take effect twice, as patiently as everything else here."""
        return self._persistently(operation, self._persistence.attempts())

    def _persistently(self, operation: Operation[ResultT], attempts: Attempts) -> ResultT:
        # Repetitions are counted here, with those of the upload.
        once = replace(operation, repeatable=False)
        while True:
            try:
                answer = self._caller.call(once, breaks_off=self._cancel.breaks_off)
            except HerdbookError as error:
                attempts.failed(error)
            else:
                self._persistence.answered()
                return answer

    def _send_batch(self, batch: list[Piece]) -> None:
        chunks: dict[bytes, bytes] = {}
        for piece, data in _read(batch):
            digest = hashlib.sha256(data).digest()
            piece.source.sha256[piece.number] = digest
            if self._claim(digest):
                chunks[digest] = data
            else:
                self._meter.add(saved_bytes=len(data))
        if chunks:
            self._send_missing(chunks)

    def _claim(self, digest: bytes) -> bool:
        """Whether this is the first time that the push meets the chunk."""
        with self._lock:
            before = len(self._claimed)
            self._claimed.add(digest)
            return len(self._claimed) > before

    def _send_missing(self, chunks: dict[bytes, bytes]) -> None:
        attempts = self._persistence.attempts()
        with self._lock:
            sent = self._sent & chunks.keys()
        while self._is_left(chunks, sent, attempts):
            if self._direct_offered:
                self._send_directly(chunks)
            if not chunks:
                return
            outgoing = _Outgoing(self._model, chunks, self._meter)
            try:
                self._upload(outgoing, _size(chunks, chunks))
            except HerdbookError as error:
                attempts.failed(error)
            else:
                return
            finally:
                sent = outgoing.end()
                self._note_sent(sent)

    def _note_sent(self, digests: set[bytes]) -> None:
        with self._lock:
            self._sent |= digests

    def _is_left(self, chunks: dict[bytes, bytes], sent: set[bytes], attempts: Attempts) -> bool:
        """Asks what is missing, forgets the rest, counts, and tells whether anything is left."""
        found = self._persistently(artifacts.find_missing_chunks(self._model, chunks), attempts)
        self._direct_offered, missing = found.direct, found.digests
        present = chunks.keys() - missing
        with self._lock:
            self._sent -= missing
        self._meter.add(
            moved_bytes=-_size(chunks, sent & missing), saved_bytes=_size(chunks, present - sent)
        )
        for digest in present:
            del chunks[digest]
        if present:
            attempts.progressed()
        return bool(chunks)

    def _send_directly(self, chunks: dict[bytes, bytes]) -> None:
        """Sends what S3 takes, and takes it from what is left."""
        from herdbook.transfer.direct import send_directly

        for digest in send_directly(
            self._caller, self._model, chunks, meter=self._meter, cancel=self._cancel
        ):
            del chunks[digest]
            self._note_sent({digest})

    def _upload(self, outgoing: _Outgoing, size_bytes: int) -> None:
        timeout_seconds = stream_timeout_seconds(
            size_bytes, timeout_seconds=self._caller.connection.timeout_seconds
        )
        with self._caller.translated():
            call = self._caller.upload(
                artifacts.UPLOAD_CHUNKS, outgoing, timeout_seconds=timeout_seconds
            )
            with self._cancel.breaks_off(call.cancel):
                call.result()
        outgoing.check()


class _Outgoing(Iterable[bytes]):
    """The messages of one stream, which another thread consumes and which it must not see fail."""

    def __init__(self, model: str, chunks: Mapping[bytes, bytes], meter: Meter) -> None:
        self._model = model
        self._chunks = [_Chunk(sha256, data) for sha256, data in chunks.items()]
        self._meter = meter
        self._lock = threading.Lock()
        self._ended = False
        self._sent: set[bytes] = set()
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        for group in planning.batches(
            self._chunks, max_bytes=planning.MESSAGE_BYTES, max_count=planning.MESSAGE_CHUNKS
        ):
            if not self._count(group):
                return
            yield encode_upload(self._model, [(chunk.sha256, chunk.data) for chunk in group])

    def _count(self, group: list[_Chunk]) -> bool:
        """Counts what is about to be sent; returns whether to send it."""
        with self._lock:
            if self._ended:
                return False
            self._sent.update(chunk.sha256 for chunk in group)
            try:
                self._meter.add(moved_bytes=sum(chunk.size_bytes for chunk in group))
            except Exception as failure:  # noqa: BLE001  # raised again by check
                self._failure = failure
                self._ended = True
            return not self._ended

    def end(self) -> set[bytes]:
        """Sends no more, and returns the digests of what was sent, in whole or in part."""
        with self._lock:
            self._ended = True
            return self._sent

    def check(self) -> None:
        """Raises what made the messages end early."""
        if self._failure is not None:
            raise self._failure


@dataclass(frozen=True, slots=True)
class _Chunk:
    sha256: bytes
    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)


def _size(chunks: Mapping[bytes, bytes], digests: Iterable[bytes]) -> int:
    return sum(len(chunks[digest]) for digest in digests)


def _read(batch: list[Piece]) -> Iterator[tuple[Piece, bytes]]:
    """Reads pieces in their order, and checks that no file changed meanwhile."""
    with _files() as opened:
        for piece in batch:
            yield piece, opened(piece.source).read(piece.offset, piece.size_bytes)


@contextmanager
def _files() -> Iterator[Callable[[Source], OpenSource]]:
    """Keeps the file of the last piece open."""
    current: OpenSource | None = None

    def opened(source: Source) -> OpenSource:
        nonlocal current
        if current is None or current.source is not source:
            finish()
            current = OpenSource(source)
        return current

    def finish() -> None:
        nonlocal current
        if current is not None:
            ending, current = current, None
            try:
                ending.check()
            finally:
                ending.close()

    try:
        yield opened
    finally:
        finish()
