"""Connections to S3: opened in a bounded time, kept for further requests, broken off by others."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import SplitResult
from urllib.request import getproxies, proxy_bypass

from herdbook.errors import Cancelled
from herdbook.transport.connection import GRPC_ROOTS, TLS, authorities

_CONNECT_SECONDS: Final = 5.0
"""For all addresses of a host together."""

_ADDRESS_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 20.0
"""The longest silence of the store."""


class Unreachable(OSError):
    """No connection can be made."""


class UnderWay:
    """Connections that are in use, each until some time; all may be broken off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._give_up_at: dict[http.client.HTTPConnection, float] = {}
        self._closed = False

    @contextmanager
    def use(self, connection: http.client.HTTPConnection, *, give_up_at: float) -> Iterator[None]:
        """Has a connection broken off once a time has come, or everything is.

        Raises:
            Cancelled: Everything is, already.
        """
        with self._lock:
            self.check()
            self._give_up_at[connection] = give_up_at
        try:
            yield
        finally:
            with self._lock:
                del self._give_up_at[connection]

    def check(self) -> None:
        """Raises if everything is broken off; to be asked by whoever has just connected.

        Raises:
            Cancelled: It is.
        """
        if self._closed:
            raise Cancelled("The transfer was given up.")

    def break_off_late(self) -> None:
        """Breaks off what takes too long."""
        self._break_off(time.monotonic())

    def close(self) -> None:
        """Breaks everything off, for good."""
        self._closed = True
        self._break_off(float("inf"))

    def _break_off(self, now: float) -> None:
        with self._lock:
            for connection, give_up_at in self._give_up_at.items():
                if give_up_at <= now and connection.sock is not None:
                    with suppress(OSError):
                        # Of a socket, not of its TLS, which would wait for the other end.
                        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


class Connections:
    """Connections that may be used again; used by several threads."""

    def __init__(self, tls: TLS | None) -> None:
        """Opens none yet; trusts whom this machine trusts, and whom `tls` names."""
        self._tls = tls
        self._lock = threading.Lock()
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._context: ssl.SSLContext | None = None

    @contextmanager
    def lend(
        self, parts: SplitResult, under_way: UnderWay, *, give_up_at: float, anew: bool
    ) -> Iterator[http.client.HTTPConnection]:
        """Lends a connection, which can be used again unless the block raises.

        Raises:
            Unreachable: There is none to be had.
            Cancelled: Everything under way is given up.
        """
        origin = f"{parts.scheme}://{parts.netloc}"
        connection = (None if anew else self._take(origin)) or _unconnected(parts)
        try:
            with under_way.use(connection, give_up_at=give_up_at):
                if connection.sock is None:
                    self._connect(connection, parts)
                    under_way.check()
                yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.setdefault(origin, []).append(connection)

    def close(self) -> None:
        """Closes those that nobody uses."""
        with self._lock:
            connections = [each for idle in self._idle.values() for each in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _take(self, origin: str) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def _connect(self, connection: http.client.HTTPConnection, parts: SplitResult) -> None:
        host = parts.hostname or ""
        is_encrypted = parts.scheme == "https"
        if getproxies().get(parts.scheme) and not proxy_bypass(host):
            raise Unreachable(f"{host} is behind a proxy")
        try:
            sock = _open_socket(host, parts.port or (443 if is_encrypted else 80))
            connection.sock = sock
            sock.settimeout(_SILENCE_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if is_encrypted:
                encrypted = self._trust().wrap_socket(
                    sock, server_hostname=host, do_handshake_on_connect=False
                )
                connection.sock = encrypted
                encrypted.do_handshake()
        except OSError as error:
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
    return connection


def _open_socket(host: str, port: int) -> socket.socket:
    """Connects to the first address that answers."""
    give_up_at = time.monotonic() + _CONNECT_SECONDS
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        seconds = min(_ADDRESS_SECONDS, give_up_at - time.monotonic())
        if seconds <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(seconds)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure
