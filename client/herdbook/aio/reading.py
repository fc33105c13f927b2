"""Reads files of versions in an event loop."""

from __future__ import annotations

import asyncio
import io
from types import TracebackType
from typing import Self

from herdbook.aio.threads import in_thread
from herdbook.transfer.cancellation import CancelToken


class AsyncRemoteFile:
    """One file of a version; like a binary file, but its methods are awaited.

    A read that is cancelled ends at once, and the file with it.
    """

    def __init__(self, file: io.BufferedReader, cancel: CancelToken) -> None:
        self._file = file
        self._cancel = cancel

    @property
    def name(self) -> str:
        """The file's path below the version's root."""
        return str(self._file.name)

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    async def read(self, size_bytes: int = -1) -> bytes:
        """Reads so many bytes, or as many as there are; a negative number reads to the end."""

        def work(cancel: CancelToken) -> bytes:
            with cancel.breaks_off(self._cancel.cancel):
                return self._file.read(size_bytes)

        try:
            return await in_thread(work)
        except asyncio.CancelledError:
            # Even if it had not begun: what a read leaves behind is to be the same each time.
            self._cancel.cancel()
            raise

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position and returns it."""
        return await in_thread(lambda _: self._file.seek(offset, whence))

    def tell(self) -> int:
        """Returns the position of the next byte."""
        return self._file.tell()

    async def close(self) -> None:
        """Lets go of what is held, and ends a read under way; may be called again."""
        self._cancel.cancel()
        await in_thread(lambda _: self._file.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
