"""Why no connection comes about though something listens: what gRPC leaves unsaid.

Of a host with several addresses, such as `localhost`, gRPC tells how the last one failed. That is
often an address on which nothing listens, while another one has answered and been turned down.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress

from herdbook.errors import EncryptionMismatch, HerdbookError, Unavailable
from herdbook.transport.connection import GRPC_ROOTS, TLS, Connection, authorities

_PATIENCE_SECONDS = 2.0
"""For all addresses together."""

_ADDRESSES = 4
_HUNG_UP = (
    "hangs up: it does not accept this client's certificate, or wants one, or nothing is behind it"
)


def explained(error: HerdbookError, connection: Connection) -> HerdbookError:
    """Returns what says more about why a server is not reached, or the error itself.

    Connects anew to find out, which takes two seconds at most. Only what no repetition mends
    becomes an EncryptionMismatch.
    """
    if type(error) is not Unavailable or error.details.reason:
        return error
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for address in _answering(connection.target, deadline):
        cause = _mismatch(address, connection, deadline)
        if cause:
            kind = Unavailable if cause == _HUNG_UP else EncryptionMismatch
            told = f"The server {connection.target} answers at {address[0]}, but {cause}."
            return kind(told, details=error.details)
    return error


def _left_seconds(deadline: float) -> float:
    """Tells how long may still be waited; next to nothing, but never 0, which would not wait."""
    return max(0.01, deadline - time.monotonic())


def _answering(target: str, deadline: float) -> Iterator[tuple[str, int]]:
    """Yields the addresses of a server that accept connections."""
    host, _, port = target.rpartition(":")
    if not port.isdecimal() or not host or "/" in host or target.startswith("unix:"):
        return
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for *_, resolved in found[:_ADDRESSES]:
            address = (str(resolved[0]), int(port))
            with suppress(OSError):
                socket.create_connection(address, _left_seconds(deadline)).close()
                yield address


def _mismatch(address: tuple[str, int], connection: Connection, deadline: float) -> str:
    """Says in what the two sides differ; empty if they seem to agree."""
    host = connection.target.rpartition(":")[0].strip("[]")
    context = _trusting() if connection.tls is None else _checking(connection.tls)
    try:
        with (
            socket.create_connection(address, _left_seconds(deadline)) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            if connection.tls is None:
                return "it speaks TLS, and this client does not"
            wrapped.settimeout(_left_seconds(deadline))
            return "" if _welcomed(wrapped) else _HUNG_UP
    except OSError as error:
        return "" if connection.tls is None else _meaning(error, host)


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _checking(tls: TLS) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    with suppress(OSError):
        listed = tls.ca or authorities() or os.environ.get(GRPC_ROOTS)
        if listed:
            context.load_verify_locations(listed)
        if tls.cert and tls.key:
            # Without a password of its own OpenSSL would ask for one at the terminal.
            context.load_cert_chain(tls.cert, tls.key, password="")
    return context


def _welcomed(connection: ssl.SSLSocket) -> bool:
    """Whether the server goes on after the handshake; only then does it look who calls."""
    try:
        return bool(connection.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


def _meaning(refusal: OSError, host: str) -> str:
    if isinstance(refusal, ssl.SSLCertVerificationError):
        if "match" in refusal.verify_message:
            return f"its certificate is not for the name {host}"
        return f"its certificate is not trusted: {refusal.verify_message}"
    if isinstance(refusal, ssl.SSLError) and "WRONG_VERSION" in (refusal.reason or ""):
        return "it does not speak TLS, and this client does"
    return ""
