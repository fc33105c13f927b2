"""Connections to S3: kept for further requests, and broken off by others."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult
from urllib.request import getproxies, proxy_bypass

from herdbook.errors import Cancelled
from herdbook.transport.connection import GRPC_ROOTS, TLS, authorities

_CONNECT_SECONDS: Final = 5.0
"""For all addresses of a host together, once its name is resolved."""

_ADDRESS_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 20.0
"""The longest silence of the store."""

_PORTS: Final = {"https": 443, "http": 80}


class Unreachable(OSError):
    """No connection can be made."""


@dataclass(slots=True, eq=False)
class Use:
    """A connection in use."""

    give_up_at: float
    """When it is broken off, as `time.monotonic` tells it."""

    sock: socket.socket | None = None
    """Once there is one; `http.client` lets go of its own before the end of some answers."""

    def break_off(self) -> None:
        """Has whoever waits at the socket wait no longer."""
        sock = self.sock
        if sock is not None:
            with suppress(OSError):
                # Of a socket, not of its TLS, which would wait for the other end.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class UnderWay:
    """Connections that are in use; all may be broken off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: set[Use] = set()
        self._closed = False

    @contextmanager
    def use(self, *, give_up_at: float) -> Iterator[Use]:
        """Has what gets a socket broken off once a time has come, or everything is.

        Raises:
            Cancelled: Everything is, already.
        """
        use = Use(give_up_at)
        with self._lock:
            self.check()
            self._uses.add(use)
        try:
            yield use
        finally:
            with self._lock:
                self._uses.discard(use)

    def check(self) -> None:
        """Raises if everything is broken off; to be asked by whoever has just got a socket.

        Raises:
            Cancelled: It is.
        """
        if self._closed:
            raise Cancelled("The transfer was given up.")

    def break_off_late(self) -> None:
        """Breaks off what takes too long."""
        now = time.monotonic()
        with self._lock:
            for use in self._uses:
                if use.give_up_at <= now:
                    use.break_off()

    def close(self) -> None:
        """Breaks everything off, for good."""
        self._closed = True
        with self._lock:
            for use in self._uses:
                use.break_off()


class Connections:
    """Connections that may be used again; used by several threads."""

    def __init__(self, tls: TLS | None) -> None:
        """Opens none yet; trusts whom this machine trusts, and whom `tls` names."""
        self._tls = tls
        self._lock = threading.Lock()
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._context: ssl.SSLContext | None = None
        self._closed = False

    @contextmanager
    def lend(
        self, parts: SplitResult, under_way: UnderWay, *, give_up_at: float, anew: bool
    ) -> Iterator[http.client.HTTPConnection]:
        """Lends a connection, which can be used again unless the block raises.

        Args:
            parts: Where to.
            under_way: Where the connection is found as long as it is lent.
            give_up_at: When it is broken off.
            anew: Whether it must not have been used before.

        Raises:
            Unreachable: There is none to be had.
            Cancelled: Everything under way is given up.
        """
        origin = f"{parts.scheme}://{parts.netloc}"
        connection = (None if anew else self._take(origin)) or _unconnected(parts)
        try:
            with under_way.use(give_up_at=give_up_at) as use:
                use.sock = connection.sock
                if use.sock is None:
                    self._connect(connection, parts, use, under_way)
                under_way.check()
                yield connection
            self._keep(origin, connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Closes those that nobody uses, and then those that come back."""
        with self._lock:
            self._closed = True
            connections = [each for idle in self._idle.values() for each in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _take(self, origin: str) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def _keep(self, origin: str, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.setdefault(origin, []).append(connection)
                return
        connection.close()

    def _connect(
        self,
        connection: http.client.HTTPConnection,
        parts: SplitResult,
        use: Use,
        under_way: UnderWay,
    ) -> None:
        host = parts.hostname or ""
        if getproxies().get(parts.scheme) and not proxy_bypass(host):
            raise Unreachable(f"{host} is behind a proxy")
        try:
            use.sock = connection.sock = _open_socket(host, parts.port or _PORTS[parts.scheme])
            under_way.check()
            if parts.scheme == "https":
                use.sock = connection.sock = encrypted = self._trust().wrap_socket(
                    connection.sock, server_hostname=host, do_handshake_on_connect=False
                )
                under_way.check()
                encrypted.do_handshake()
        except OSError as error:
            # What was broken off does not answer, either.
            under_way.check()
            raise Unreachable(f"{host} cannot be reached: {error}") from error

    def _trust(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context()
                named = None if self._tls is None else self._tls.ca
                for trusted in (authorities(), os.environ.get(GRPC_ROOTS), named):
                    if trusted:
                        self._context.load_verify_locations(trusted)
            return self._context


def _unconnected(parts: SplitResult) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(parts.netloc)
    # What it would open by itself is neither bounded nor encrypted.
    connection.auto_open = 0
    # The signature covers the header Host, which names no port where it is the usual one.
    connection.default_port = _PORTS[parts.scheme]
    return connection


def _open_socket(host: str, port: int) -> socket.socket:
    """Connects to the first address that answers."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    give_up_at = time.monotonic() + _CONNECT_SECONDS
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in addresses:
        seconds = min(_ADDRESS_SECONDS, give_up_at - time.monotonic())
        if seconds <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(seconds)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            sock.settimeout(_SILENCE_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failure
