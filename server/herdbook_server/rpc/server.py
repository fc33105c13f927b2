"""The gRPC server: services, what surrounds them, and how it ends."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from herdbook.v1 import (
    alias_pb2,
    alias_pb2_grpc,
    artifact_pb2,
    artifact_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    version_pb2,
    version_pb2_grpc,
)
from herdbook_server.rpc.health import Health
from herdbook_server.rpc.interceptors import Layer, Surroundings
from herdbook_server.rpc.services.aliases import AliasServicer
from herdbook_server.rpc.services.artifacts import ArtifactServicer
from herdbook_server.rpc.services.events import EventServicer
from herdbook_server.rpc.services.fleet import FleetServicer
from herdbook_server.rpc.services.models import ModelServicer
from herdbook_server.rpc.services.server import ServerServicer
from herdbook_server.rpc.services.versions import VersionServicer

MIN_PING_INTERVAL_MS = 10_000
"""Clients may ask that often whether the connection lives."""

MAX_PENDING_CALLS = 100_000
"""Calls that wait for the event loop. When a thousand do, gRPC cancels what comes, and more than
those come back at once when a server has gone. What is too much is refused by methods, in words."""

WINDOW_BYTES = 4 * 1024 * 1024
"""What a stream may be sent before the server has taken it."""

_FILES: tuple[FileDescriptor, ...] = (
    alias_pb2.DESCRIPTOR,
    artifact_pb2.DESCRIPTOR,
    event_pb2.DESCRIPTOR,
    fleet_pb2.DESCRIPTOR,
    model_pb2.DESCRIPTOR,
    server_pb2.DESCRIPTOR,
    version_pb2.DESCRIPTOR,
)

SERVICES = tuple(service.full_name for file in _FILES for service in file.services_by_name.values())
"""Full names of our services."""

ARTIFACT_SERVICE = artifact_pb2.DESCRIPTOR.services_by_name["ArtifactService"].full_name


@dataclass(frozen=True, slots=True)
class Servicers:
    """What answers, one a service."""

    models: ModelServicer
    versions: VersionServicer
    aliases: AliasServicer
    artifacts: ArtifactServicer
    fleet: FleetServicer
    events: EventServicer
    server: ServerServicer


@dataclass(frozen=True, slots=True)
class Tls:
    """What the server proves itself by, and what it takes from clients; files, PEM."""

    key: Path
    certificates: Path
    client_authorities: Path | None
    """Whose certificates clients must bring; None: they need none."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How the server talks to the network."""

    max_message_bytes: int
    """The largest message taken."""
    max_connection_age_seconds: float | None = None
    share_port: bool = False
    """Let other processes of this user's listen at the same port; connections go to one of them."""
    tls: Tls | None = None


class AddressUnusable(Exception):
    """The address cannot be listened at."""


class TlsUnusable(Exception):
    """A key or certificates cannot be used; the sentence names the files."""


def create_server(
    servicers: Servicers, health: Health, layers: Sequence[Layer], transport: Transport
) -> grpc.aio.Server:
    """Return a server that is not started and has no port yet."""
    server = grpc.aio.server(interceptors=[Surroundings(layers)], options=_options(transport))
    model_pb2_grpc.add_ModelServiceServicer_to_server(servicers.models, server)
    version_pb2_grpc.add_VersionServiceServicer_to_server(servicers.versions, server)
    alias_pb2_grpc.add_AliasServiceServicer_to_server(servicers.aliases, server)
    artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(servicers.artifacts, server)
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(servicers.fleet, server)
    event_pb2_grpc.add_EventServiceServicer_to_server(servicers.events, server)
    server_pb2_grpc.add_ServerServiceServicer_to_server(servicers.server, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection((*SERVICES, health_name, reflection.SERVICE_NAME), server)
    return server


def add_port(server: grpc.aio.Server, address: str, transport: Transport) -> int:
    """Listen at an address; returns the port, which the system chose if it was 0.

    Raises:
        AddressUnusable: Something else listens there, or this machine has no such address.
        TlsUnusable: A key or certificates cannot be read, or do not belong together.
    """
    if not address.startswith("unix:"):
        try_to_bind(address, share_port=transport.share_port)
    try:
        if transport.tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _credentials(transport.tls))
    except RuntimeError as error:
        if transport.tls is not None:
            raise TlsUnusable(_tls_problem(transport.tls)) from error
        raise AddressUnusable(f"{address} cannot be listened at: {error}") from error


def try_to_bind(address: str, *, share_port: bool = False) -> None:
    """Find out why an address is of no use, which gRPC tells nobody but standard error.

    Raises:
        AddressUnusable: Something else listens there, or this machine has no such address.
    """
    with bound(address, share_port=share_port):
        pass


@contextmanager
def bound(address: str, *, share_port: bool) -> Iterator[socket.socket]:
    """Have a host and port to oneself until the block ends, and give a socket that is bound there.

    Raises:
        AddressUnusable: Something else listens there, or this machine has no such address.
    """
    host, _, port = address.rpartition(":")
    number = int(port)
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(
                host.strip("[]"), number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            sockets = [
                stack.enter_context(socket.socket(family, kind, protocol))
                for family, kind, protocol, *_ in found
            ]
            for each, (*_, where) in zip(sockets, found, strict=True):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if share_port:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                each.bind((where[0], number, *where[2:]))
                # Where port 0 took a free one, a host of several addresses has it at all of them.
                number = each.getsockname()[1]
        except OSError as error:
            raise AddressUnusable(f"{address} cannot be listened at: {error.strerror}.") from error
        yield sockets[0]


def _options(transport: Transport) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", transport.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # Probing lets the window grow with the bandwidth, and with it what a stream that waits for
        # the chunk store keeps in memory: eight uploads took 600 MB.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        # Two servers at one port would share its connections, at worst by accident.
        ("grpc.so_reuseport", int(transport.share_port)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", 3),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # How long a ping waits for its answer; without this a minute, whatever stands above.
        ("grpc.http2.ping_timeout_ms", 20_000),
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
    ]
    if transport.max_connection_age_seconds is not None:
        age_ms = int(transport.max_connection_age_seconds * 1000)
        options.append(("grpc.max_connection_age_ms", age_ms))
    return options


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    authorities = tls.client_authorities
    try:
        return grpc.ssl_server_credentials(
            [(tls.key.read_bytes(), tls.certificates.read_bytes())],
            root_certificates=None if authorities is None else authorities.read_bytes(),
            require_client_auth=authorities is not None,
        )
    except OSError as error:
        raise TlsUnusable(f"{error.filename} cannot be read: {error.strerror}.") from error


def _tls_problem(tls: Tls) -> str:
    """Find out why gRPC takes no key or certificate, which it tells nobody but standard error."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password it would ask for one at the terminal.
        context.load_cert_chain(tls.certificates, tls.key, password="")
    except (OSError, ValueError) as error:
        return (
            f"The certificate {tls.certificates} and the key {tls.key} cannot be used: "
            f"{_reason(error)}."
        )
    try:
        context.load_verify_locations(tls.client_authorities)
    except (OSError, TypeError) as error:
        return (
            f"The certificate authorities {tls.client_authorities} cannot be used: "
            f"{_reason(error)}."
        )
    return f"gRPC does not take the certificate {tls.certificates} with the key {tls.key}."


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
