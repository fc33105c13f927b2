"""Fetches chunks of one version: from the local cache, else from the server; verifies each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, TypeAlias

from herdbook.core.chunk_messages import decode_download
from herdbook.core.operations.artifacts import DOWNLOAD_CHUNKS
from herdbook.core.values import ChunkRef
from herdbook.errors import ChecksumMismatch, ConnectionLost, HerdbookError, ResponseInvalid
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.chunk_cache import ChunkCache
from herdbook.transfer.persistence import Persistence, stream_timeout_seconds
from herdbook.transport.caller import Caller
from herdbook.transport.silence import guarded
from herdbook.v1 import artifact_pb2 as pb

Bytes: TypeAlias = bytes | memoryview

SILENCE_SECONDS: Final = 60.0
"""A stream without a chunk for this long, or up to twice as long, has broken."""

_MISMATCHES = 3
"""How often the chunks of one call may come with wrong bytes."""


class ChunkSource:
    """Where the chunks of one version come from; may be used by several threads."""

    def __init__(
        self,
        caller: Caller,
        *,
        model: str,
        version: int,
        direct: bool = False,
        cache: ChunkCache | None,
        cancel: CancelToken,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._caller: Final = caller
        self._silence_seconds = silence_seconds
        self._model = model
        self._version = version
        self._direct = direct
        self._cache = cache
        self._cancel = cancel
        self._persistence = Persistence(cancel, caller.contact)

    def cached(self, ref: ChunkRef) -> bytes | None:
        """Returns a chunk that the cache holds intact."""
        data = None if self._cache is None else self._cache.get(ref.sha256)
        return data if data is not None and _matches(ref, data) else None

    def fetch(self, refs: list[ChunkRef], deliver: Callable[[ChunkRef, Bytes], None]) -> None:
        """Delivers chunks, verified, as they come; goes on after breaks.

        What is delivered is valid during the call of `deliver` alone.

        Raises:
            ChecksumMismatch: Wrong bytes arrive, again and again, of what the server holds intact,
                be it of one chunk or of several.
            ChunkLost: The server does not have a chunk any more, or what it has is damaged.
        """
        left = {ref.sha256: ref for ref in refs}
        if self._direct:
            self._fetch_directly(left, deliver)
        attempts = self._persistence.attempts()
        mismatches = 0
        while left:
            before = len(left)
            try:
                # Of wrong bytes the server must tell whether it holds them, or the way is to blame.
                self._fetch_some(left, deliver, verify=mismatches > 0)
            except ChecksumMismatch:
                mismatches += 1
                if mismatches >= _MISMATCHES:
                    raise
            except HerdbookError as error:
                if len(left) < before:
                    attempts.progressed()
                attempts.failed(error)

    def _fetch_directly(
        self, left: dict[bytes, ChunkRef], deliver: Callable[[ChunkRef, Bytes], None]
    ) -> None:
        """Delivers what comes from S3, and takes it from what is left."""
        from herdbook.transfer.direct import fetch_directly

        chunks = fetch_directly(
            self._caller, self._model, self._version, list(left.values()), cancel=self._cancel
        )
        with closing(chunks):
            for ref, data in chunks:
                self._take(left, ref, data, deliver)

    def _take(
        self,
        left: dict[bytes, ChunkRef],
        ref: ChunkRef,
        data: Bytes,
        deliver: Callable[[ChunkRef, Bytes], None],
    ) -> None:
        """Delivers a verified chunk, and takes it from what is left."""
        deliver(ref, data)
        if self._cache is not None:
            self._cache.put(ref.sha256, bytes(data))
        del left[ref.sha256]

    def _fetch_some(
        self,
        left: dict[bytes, ChunkRef],
        deliver: Callable[[ChunkRef, Bytes], None],
        *,
        verify: bool,
    ) -> None:
        """Delivers what comes over one stream, and takes it from what is left."""
        for digest, data in self._stream(list(left.values()), verify=verify):
            ref = left.get(digest)
            if ref is None:
                raise ResponseInvalid("The server sent a chunk that was not asked for.")
            if not _matches(ref, data):
                raise ChecksumMismatch(
                    f"Bytes arrived for chunk {digest.hex()} that do not have its digest."
                )
            self._take(left, ref, data, deliver)
            self._persistence.answered()
        if left:
            raise ConnectionLost("The server ended the download early.")

    def _stream(self, refs: list[ChunkRef], *, verify: bool) -> Iterator[tuple[bytes, memoryview]]:
        size_bytes = sum(ref.size_bytes for ref in refs)
        request = pb.DownloadChunksRequest(
            model=self._model,
            version=self._version,
            sha256=[ref.sha256 for ref in refs],
            verify=verify,
        )
        timeout_seconds = stream_timeout_seconds(
            size_bytes, timeout_seconds=self._caller.connection.timeout_seconds
        )
        with self._caller.translated():
            call = self._caller.download(
                DOWNLOAD_CHUNKS, request.SerializeToString(), timeout_seconds=timeout_seconds
            )
            with (
                guarded(call, self._silence_seconds) as heard,
                self._cancel.breaks_off(call.cancel),
            ):
                for message in call:
                    for chunk in decode_download(message):
                        heard.set()
                        yield chunk
                        # The time that the caller took is no silence of the server.
                        heard.set()


def _matches(ref: ChunkRef, data: Bytes) -> bool:
    return len(data) == ref.size_bytes and hashlib.sha256(data).digest() == ref.sha256
