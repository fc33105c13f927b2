"""A TCP proxy that breaks, freezes, delays and slows connections as a test says, and counts."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK

PIECE_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)
"""Makes closing a socket break its connection, whatever is still to be sent."""


class Proxy:
    """Stands between clients and one server."""

    def __init__(
        self,
        server: str,
        *,
        cuts: Iterable[int] = (),
        freezes: Iterable[int] = (),
        delay_seconds: float = 0.0,
        bytes_per_second: float | None = None,
    ) -> None:
        """Listens at a port of its own.

        Args:
            server: Where to.
            cuts: Breaks every open connection each time so many bytes have passed in all.
            freezes: Lets every open connection stay open each time so many bytes have passed in
                all, and passes nothing over it from then on.
            delay_seconds: How long everything is on its way, in each direction.
            bytes_per_second: How much passes in each direction of each connection.
        """
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._cuts = sorted(cuts, reverse=True)
        self._freezes = sorted(freezes, reverse=True)
        self._delay_seconds = delay_seconds
        self._bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._frozen: set[socket.socket] = set()
        self._ended = threading.Event()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        self.sent_bytes = 0
        """From clients to the server."""
        self.received_bytes = 0
        """From the server to clients."""
        self.cut_count = 0
        self.freeze_count = 0

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
        self._ended.set()
        with self._lock:
            self._break()

    def cut(self) -> None:
        """Break every open connection now."""
        with self._lock:
            self.cut_count += 1
            self._break()

    def freeze(self) -> None:
        """Let nothing pass over the connections that are open now."""
        with self._lock:
            self.freeze_count += 1
            self._frozen |= self._open

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                # The server is away.
                close(client)
                continue
            with self._lock:
                self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                upward = source is client
                threading.Thread(
                    target=self._pump, args=(source, target, upward), daemon=True
                ).start()

    def _pump(self, source: socket.socket, target: socket.socket, upward: bool) -> None:  # noqa: FBT001
        line = DelayLine(target, self._delay_seconds)
        with contextlib.suppress(OSError), contextlib.closing(line):
            while piece := source.recv(PIECE_BYTES):
                self._count(len(piece), upward=upward)
                if source in self._frozen:
                    self._ended.wait()
                    break
                if self._bytes_per_second is not None:
                    time.sleep(len(piece) / self._bytes_per_second)
                line.send(piece)
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
            passed = self.sent_bytes + self.received_bytes
            if self._cuts and passed >= self._cuts[-1]:
                self._cuts.pop()
                self.cut_count += 1
                self._break()
            if self._freezes and passed >= self._freezes[-1]:
                self._freezes.pop()
                self.freeze_count += 1
                self._frozen |= self._open

    def _break(self) -> None:
        for end in self._open:
            close(end)
        self._open.clear()


class DelayLine:
    """Sends pieces some time after they were given, in their order."""

    def __init__(self, target: socket.socket, delay_seconds: float) -> None:
        self._target = target
        self._delay_seconds = delay_seconds
        self._pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        if delay_seconds:
            self._thread.start()

    def send(self, piece: bytes) -> None:
        """Send a piece, or have it sent later."""
        if self._delay_seconds:
            self._pieces.put((time.monotonic() + self._delay_seconds, piece))
        else:
            self._target.sendall(piece)

    def close(self) -> None:
        """Send what is left."""
        if self._delay_seconds:
            self._pieces.put((0.0, b""))
            self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                send_at, piece = self._pieces.get()
                if not piece:
                    return
                time.sleep(max(0.0, send_at - time.monotonic()))
                self._target.sendall(piece)


def close(end: socket.socket) -> None:
    """Break a connection."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        # Wakes the thread that reads from it.
        end.shutdown(socket.SHUT_RDWR)
    end.close()
