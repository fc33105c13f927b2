"""Chunks as files below a local directory."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, TypeAlias, TypeVar

from herdbook_server.ports.chunks import (
    DELETION_SECONDS,
    ChunkDamaged,
    ChunkMissing,
    Data,
    StoredChunk,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)
from herdbook_server.storage.chunks.layout import CHUNKS, FAN_OUT, chunk_digest, chunk_name
from herdbook_server.storage.chunks.syncing import (
    Syncing,
    can_sync_at_once,
    start_writing,
    sync_directory,
)

logger = logging.getLogger(__name__)

THREADS = "herdbook-chunk"
"""What the names of the threads begin with."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Entries: TypeAlias = Iterator[os.DirEntry[str]]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
# EXDEV: `tmp` and `chunks` are on two file systems.
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EXDEV, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
)
# Nothing, or what is no file: a directory, a circle of links, a link through a file, a socket.
_NO_CHUNK = frozenset({errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
_DELETED_AT_ONCE = 500
_LARGE_BYTES = 256 * 1024
"""A chunk of that size is on its way to the disk while the next one is written."""

_PROBE = b"probe"
_TEMPORARY = "tmp"
_TEMPORARY_MAX_AGE_SECONDS = 3600.0


class LocalChunkStore:
    """Keeps each chunk in a file `chunks/ab/cdef…` below a directory.

    Chunks are written to `tmp/`, synced, renamed to their places, and the renames synced too: those
    of one call together. Other processes may use the same directory at the same time.
    """

    def __init__(
        self, root: Path, *, threads: int = 8, page_size: int = 1000, close_seconds: float = 2.0
    ) -> None:
        """Prepare a store below `root`, which `open` creates.

        Args:
            root: The directory; `chunks` and `tmp` are made in it, on one file system.
            threads: How many chunks are written, and how many read, at once.
            page_size: How many chunks `list_chunks` looks at before it lets go of its thread.
            close_seconds: How long `close` waits for reads and writes under way.
        """
        self._root = root
        self._chunks = root / CHUNKS
        self._temporary = root / _TEMPORARY
        self._page_size = page_size
        self._close_seconds = close_seconds
        self._syncs_at_once = False
        self._doomed: set[str] = set()
        """Names that are being deleted."""
        # Two pools, so that readers do not wait behind writers that wait for the disk.
        self._writers = ThreadPoolExecutor(threads, thread_name_prefix=f"{THREADS}-writer")
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix=f"{THREADS}-reader")

    async def open(self) -> None:
        """Create the directories and delete what a killed process left in `tmp`."""
        await _run(self._writers, self._open)

    async def put(self, chunks: Mapping[bytes, Data]) -> Mapping[bytes, StoreError]:
        """Store chunks, see `ChunkStore.put`."""
        return await _run(self._writers, self._put, chunks)

    async def get(self, digest: bytes, size_bytes: int) -> bytes:
        """Return a chunk, see `ChunkStore.get`."""
        return await _run(self._readers, self._get, digest, size_bytes)

    async def delete(self, digests: Sequence[bytes]) -> Mapping[bytes, StoreError]:
        """Delete chunks, see `ChunkStore.delete`."""
        deadline = _Deadline(DELETION_SECONDS)
        failures: dict[bytes, StoreError] = {}
        try:
            for start in range(0, len(digests), _DELETED_AT_ONCE):
                page = digests[start : start + _DELETED_AT_ONCE]
                failures |= await _run(self._writers, self._delete, page, deadline)
            return failures
        finally:
            # A thread cannot be cancelled, and must not delete what is put again from now on.
            deadline.pass_now()

    async def list_chunks(self) -> AsyncGenerator[StoredChunk, None]:
        """Yield every chunk held, see `ChunkStore.list_chunks`."""
        for first in FAN_OUT:
            with await _run(self._readers, self._scan, first) as entries:
                while page := await _run(self._readers, self._next_page, first, entries):
                    for chunk in page:
                        if chunk is not None:
                            yield chunk

    async def check(self) -> None:
        """Write, read and delete a file in `tmp`, see `ChunkStore.check`."""
        await _run(self._writers, self._check)

    async def close(self) -> None:
        """Wait a little for the reads and writes under way, then end the threads.

        A thread that hangs, as on a file system that is gone, is left alone.
        """
        for pool in (self._writers, self._readers):
            pool.shutdown(wait=False, cancel_futures=True)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        # Of a thread that is no daemon, or of the loop, the process would wait for the end.
        threading.Thread(target=self._await_threads, args=(loop, ended), daemon=True).start()
        try:
            async with asyncio.timeout(self._close_seconds):
                await ended.wait()
        except TimeoutError:
            logger.warning("The chunk store %s is left with reads or writes that hang", self._root)

    def _await_threads(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        for pool in (self._writers, self._readers):
            pool.shutdown()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    def _open(self) -> None:
        with self._errors("create its directories"):
            if not self._root.is_dir():
                self._root.mkdir(parents=True, exist_ok=True)
                sync_directory(self._root.parent)
            self._temporary.mkdir(exist_ok=True)
            self._chunks.mkdir(exist_ok=True)
            # All of them now: a put would have to sync the parent of one it created, and so
            # would every other put that finds it before that sync is done.
            for first in FAN_OUT:
                (self._chunks / first).mkdir(exist_ok=True)
            sync_directory(self._chunks)
            sync_directory(self._root)
            self._syncs_at_once = can_sync_at_once(self._root)
            self._delete_old_temporaries()

    def _delete_old_temporaries(self) -> None:
        oldest = time.time() - _TEMPORARY_MAX_AGE_SECONDS
        for path in self._temporary.iterdir():
            # Another process may finish or delete its own at this moment. What cannot be deleted,
            # as on a disk that is read-only, harms nobody.
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < oldest:
                    _remove(path)

    def _put(self, chunks: Mapping[bytes, Data]) -> dict[bytes, StoreError]:
        """Write all, sync, give all their names, sync."""
        failures: dict[bytes, StoreError] = {}
        written: dict[str, str] = {}
        try:
            with self._errors("store chunks"), self._new_group() as (incoming, sync):
                for digest, data in chunks.items():
                    try:
                        name = chunk_name(digest)
                        written[name] = self._write(name, data, f"{incoming}/{digest.hex()}")
                    except StoreError as failure:
                        failures[digest] = failure
                sync.files(written.values())
                for name, path in written.items():
                    self._name(path, name)
                sync.directories({f"{self._chunks}/{name[:2]}" for name in written})
        except StoreError as failure:
            return dict.fromkeys(chunks, failure)
        return failures

    @contextlib.contextmanager
    def _new_group(self) -> Iterator[tuple[Path, Syncing]]:
        syncing = Syncing(self._root, at_once=self._syncs_at_once)
        with self._new_directory() as incoming, syncing as sync:
            yield incoming, sync

    def _write(self, name: str, data: Data, path: str) -> str:
        if name in self._doomed:
            raise StoreUnavailable(f"The chunk store {self._root} hangs in deleting {name}.")
        with self._errors("store a chunk"), open(path, "xb", buffering=0) as file:  # noqa: PTH123
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            if len(data) >= _LARGE_BYTES:
                start_writing(file.fileno())
        return path

    def _name(self, path: str, name: str) -> None:
        target = f"{self._chunks}/{name}"
        try:
            os.replace(path, target)  # noqa: PTH105 - thousands a second
        except FileNotFoundError:
            # Somebody has lost one of the directories that `open` makes.
            self._require_directories()
            os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
            sync_directory(self._chunks)
            os.replace(path, target)  # noqa: PTH105
        except IsADirectoryError:
            self._move_directory_aside(target)
            os.replace(path, target)  # noqa: PTH105

    def _move_directory_aside(self, path: str) -> None:
        """Make room for a chunk where somebody has put a directory; a chunk by now stays."""
        aside = self._temporary / secrets.token_hex(16)
        # The name of a directory cannot be given to a chunk.
        aside.mkdir()
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.replace(path, aside)  # noqa: PTH105
            logger.warning("A directory was in the place of a chunk, %s; it is %s now", path, aside)
            return
        aside.rmdir()

    def _get(self, digest: bytes, size_bytes: int) -> bytes:
        with self._errors("read a chunk"):
            try:
                file = open(self._chunks / chunk_name(digest), "rb", opener=_at_once)  # noqa: SIM115
            except OSError as error:
                if error.errno not in _NO_CHUNK:
                    raise
                # A volume that is not mounted has lost nothing.
                self._require_directories()
                raise ChunkMissing(digest) from None
            with file:
                actual_bytes = os.fstat(file.fileno()).st_size
                if actual_bytes != size_bytes:
                    raise ChunkDamaged(digest, expected_bytes=size_bytes, actual_bytes=actual_bytes)
                return file.read(size_bytes)

    def _delete(self, digests: Sequence[bytes], deadline: _Deadline) -> dict[bytes, StoreError]:
        failures: dict[bytes, StoreError] = {}
        with self._errors("delete chunks"):
            self._require_directories()
        for digest in digests:
            name = chunk_name(digest)
            with self._dooming(name):
                try:
                    with self._errors(f"delete {name}"):
                        self._delete_one(self._chunks / name, deadline)
                except StoreError as failure:
                    failures[digest] = failure
        return failures

    def _delete_one(self, path: Path, deadline: _Deadline) -> None:
        """Delete a file unless the deadline passes, after which others may count on it."""
        deadline.require()
        condemned = self._temporary / secrets.token_hex(16)
        try:
            path.rename(condemned)
        except FileNotFoundError:
            return
        try:
            # The call may have hung for minutes, and have taken what another process has put.
            deadline.require()
        except TimeoutError:
            _put_back(condemned, path)
            raise
        _remove(condemned)

    @contextlib.contextmanager
    def _dooming(self, name: str) -> Iterator[None]:
        """Have nothing stored under a name while it is deleted, which may hang for minutes."""
        self._doomed.add(name)
        try:
            yield
        finally:
            self._doomed.discard(name)

    def _scan(self, first: str) -> AbstractContextManager[_Entries]:
        with self._errors("list its chunks"):
            return os.scandir(self._chunks / first)

    def _next_page(self, first: str, entries: _Entries) -> list[StoredChunk | None]:
        with self._errors("list its chunks"):
            return [
                _stored_chunk(first, entry) for entry in itertools.islice(entries, self._page_size)
            ]

    def _check(self) -> None:
        with self._errors("pass its check"), self._new_directory() as directory:
            self._require_directories()
            probe = directory / "probe"
            probe.write_bytes(_PROBE)
            with Syncing(directory, at_once=False) as sync:
                sync.files([str(probe)])
            if probe.read_bytes() != _PROBE:
                raise StoreUnavailable(
                    f"The chunk store {self._root} read other bytes than it wrote."
                )

    @contextlib.contextmanager
    def _new_directory(self) -> Iterator[Path]:
        """Make a directory in `tmp` that is gone afterwards, whatever happens."""
        directory = self._temporary / secrets.token_hex(16)
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _require_directories(self) -> None:
        if not self._chunks.is_dir():
            raise StoreUnavailable(f"The chunk store's directory {self._chunks} is gone.")

    @contextlib.contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Translate what the operating system refuses."""
        try:
            yield
        except OSError as error:
            raise _store_error(f"The chunk store {self._root} could not {action}", error) from error


class _Deadline:
    """A moment that threads look at, and that may be brought forward to now."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def require(self) -> None:
        """Raise an error of the operating system's kind once it has passed."""
        if time.monotonic() >= self._ends_at:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def pass_now(self) -> None:
        self._ends_at = time.monotonic()


async def _run(
    pool: ThreadPoolExecutor,
    function: Callable[_Arguments, _Result],
    *args: _Arguments.args,
    **kwargs: _Arguments.kwargs,
) -> _Result:
    return await asyncio.wrap_future(pool.submit(function, *args, **kwargs))


def _at_once(path: str, flags: int) -> int:
    """Open a file; a pipe that somebody put there is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _put_back(taken: Path, path: Path) -> None:
    """Give a file its name back, unless there is one of that name by now."""
    try:
        path.hardlink_to(taken)
    except FileExistsError:
        pass
    except OSError:
        # There are no hard links here.
        if not path.exists():
            taken.rename(path)
    sync_directory(path.parent)
    taken.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _store_error(sentence: str, error: OSError) -> StoreError:
    message = f"{sentence}: {error.strerror or error}."
    if error.errno in _FULL:
        return StoreFull(message)
    if error.errno in _REFUSED:
        return StoreMisconfigured(message)
    return StoreUnavailable(message)


def _stored_chunk(first: str, entry: os.DirEntry[str]) -> StoredChunk | None:
    digest = chunk_digest(f"{first}/{entry.name}")
    if digest is None:
        return None
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in _NO_CHUNK:
            raise
        return None
    return StoredChunk(digest, status.st_size, status.st_mtime_ns // 1000)
