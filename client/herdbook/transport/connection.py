"""Which server to talk to, and as whom."""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import socket
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

import grpc

from herdbook.errors import FieldInvalid

DEFAULT_PORT: Final = 7411
DEFAULT_SERVER: Final = f"localhost:{DEFAULT_PORT}"
DEFAULT_TIMEOUT_SECONDS: Final = 30.0

_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Linux distributions keep the authorities they trust, in PEM."""

GRPC_ROOTS: Final = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
"""Names a file of authorities that gRPC trusts instead of its own."""

_NO_PORT = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
"""A host, or an IPv6 address in brackets, and nothing else."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class TLS:
    """Files for TLS, in PEM."""

    ca: str | Path | None = None
    """Authorities to trust; None for those that this machine trusts."""

    cert: str | Path | None = None
    """This client's certificate, with its chain; with `key`."""

    key: str | Path | None = None
    """This client's private key; with `cert`."""

    def __post_init__(self) -> None:
        """Refuses half a proof: gRPC would end the process.

        Raises:
            FieldInvalid: Of certificate and key, one is missing.
        """
        if (self.cert is None) != (self.key is None):
            raise FieldInvalid("A client certificate and its key go together: give both or none.")


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything that making a channel and a call needs."""

    target: str
    """The server, as `HOST:PORT` or any other target of gRPC."""

    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    tls: TLS | None = None

    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Sent with every call."""

    direct: bool = True
    """Whether to exchange chunks with S3 past the server, where that is offered."""

    @classmethod
    def configured(
        cls,
        server: str | None = None,
        *,
        token: str | None = None,
        tls: TLS | bool | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Connection:
        """Fills what is not given from the environment, then from defaults.

        Raises:
            FieldInvalid: Something given makes no sense.
        """
        if not timeout_seconds > 0:
            raise FieldInvalid(f"A timeout of {timeout_seconds} seconds leaves no time.")
        target = _target(server or os.environ.get("HERDBOOK_SERVER") or DEFAULT_SERVER)
        token = os.environ.get("HERDBOOK_TOKEN") if token is None else token
        chosen = _chosen_tls(tls=tls)
        unasked = chosen is None and tls is None and "HERDBOOK_TLS" not in os.environ
        if token and unasked and not is_loopback(target):
            raise FieldInvalid(
                f"The token would go to {target} in the clear: tls=True or HERDBOOK_TLS=1 "
                "encrypts, tls=False or HERDBOOK_TLS=0 says that it may."
            )
        return cls(
            target=target,
            timeout_seconds=timeout_seconds,
            tls=chosen,
            metadata=_metadata(token),
            direct=_switch("HERDBOOK_CLIENT_DIRECT", default=True),
        )

    def channel_options(self) -> list[tuple[str, str | int]]:
        """Returns the options of a channel, the same for both clients."""
        return [
            ("grpc.primary_user_agent", f"herdbook-python/{_version()}"),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # How long a ping waits for its answer; without this a minute, whatever stands above.
            ("grpc.http2.ping_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            # By default a server that was away for a while is not tried again for two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 5_000),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.enable_retries", 0),
        ]

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Reads the files of TLS; None for a connection in the clear.

        Raises:
            FieldInvalid: A file cannot be read, or holds no PEM of its kind.
        """
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=_pem(self.tls.ca or authorities(), "CERTIFICATE"),
            private_key=_pem(self.tls.key, "PRIVATE KEY"),
            certificate_chain=_pem(self.tls.cert, "CERTIFICATE"),
        )


def _target(server: str) -> str:
    if server.startswith(("http://", "https://")):
        raise FieldInvalid(
            f"The server is given as HOST:PORT, not as the URL {server!r}; "
            "tls=True, --tls or HERDBOOK_TLS=1 encrypts."
        )
    if _NO_PORT.fullmatch(server):
        return f"{server}:{DEFAULT_PORT}"
    return server


def is_loopback(target: str) -> bool:
    """Whether what is sent to a target stays on this machine."""
    host = target.rpartition(":")[0].strip("[]")
    if target.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _chosen_tls(*, tls: TLS | bool | None) -> TLS | None:
    if isinstance(tls, TLS):
        return tls
    named = TLS(
        ca=os.environ.get("HERDBOOK_TLS_CA") or None,
        cert=os.environ.get("HERDBOOK_CLIENT_CERT") or None,
        key=os.environ.get("HERDBOOK_CLIENT_KEY") or None,
    )
    if tls is None:
        tls = _switch("HERDBOOK_TLS", default=named != TLS())
    return named if tls else None


def _switch(name: str, *, default: bool) -> bool:
    """Reads a variable of the environment that is on or off."""
    text = os.environ.get(name)
    if text is None:
        return default
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise FieldInvalid(f"{name} is {text!r}; it must be 1 or 0.")


def authorities() -> str | None:
    """Finds the file that lists whom this machine trusts; None where gRPC knows a list itself.

    Left to itself, gRPC for Python trusts what it brings along, whatever the machine trusts.
    """
    if os.environ.get(GRPC_ROOTS):
        return None
    import ssl

    paths = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    return next((path for path in paths if path and Path(path).is_file()), None)


def _pem(path: str | Path | None, kind: str) -> bytes | None:
    """Reads a file of certificates or of a key."""
    if path is None:
        return None
    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise FieldInvalid(f"{path} cannot be read: {error.strerror}.") from error
    if f"{kind}-----".encode() not in contents:
        raise FieldInvalid(f"{path} holds no {kind.lower()} in PEM.")
    return contents


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    actor = ("herdbook-actor", _header(current_actor()))
    return (actor, ("authorization", f"Bearer {token}")) if token else (actor,)


def _header(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:256]


def current_actor() -> str:
    """Returns `USER@HOST` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        # Containers run as users that no file names.
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


def _version() -> str:
    return metadata.version("herdbook")
