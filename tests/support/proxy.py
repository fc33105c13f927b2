"""A TCP proxy that breaks connections where a test says so, and counts what passes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK

PIECE_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)
"""Makes closing a socket break its connection, whatever is still to be sent."""


class Proxy:
    """Stands between clients and one server."""

    def __init__(self, server: str, *, cuts: Iterable[int] = ()) -> None:
        """Will break every open connection each time so many bytes have passed in all."""
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._cuts = sorted(cuts, reverse=True)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        self.sent_bytes = 0
        """From clients to the server."""
        self.received_bytes = 0
        """From the server to clients."""
        self.cut_count = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A listener that is only closed goes on accepting in the thread that waits for it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            self._break()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            with self._lock:
                self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                upward = source is client
                threading.Thread(
                    target=self._pump, args=(source, target, upward), daemon=True
                ).start()

    def _pump(self, source: socket.socket, target: socket.socket, upward: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self._count(len(piece), upward=upward)
                target.sendall(piece)
        with self._lock:
            for end in {source, target} & self._open:
                self._open.discard(end)
                close(end)

    def _count(self, size_bytes: int, *, upward: bool) -> None:
        with self._lock:
            if upward:
                self.sent_bytes += size_bytes
            else:
                self.received_bytes += size_bytes
            if self._cuts and self.sent_bytes + self.received_bytes >= self._cuts[-1]:
                self._cuts.pop()
                self.cut_count += 1
                self._break()

    def _break(self) -> None:
        for end in self._open:
            close(end)
        self._open.clear()


def close(end: socket.socket) -> None:
    """Break a connection."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        # Wakes the thread that reads from it.
        end.shutdown(socket.SHUT_RDWR)
    end.close()
