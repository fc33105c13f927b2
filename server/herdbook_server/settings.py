"""Settings of a server: one frozen object, from `HERDBOOK_*` variables and flags."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from herdbook_server.logs import LogFormat, LogLevel

MIB = 1024 * 1024
MAX_PORT = 65535


class SettingsInvalid(Exception):
    """Settings that a server cannot run with; one sentence for each."""


class Settings(BaseSettings):
    """What a server is told. Each field can be set by `HERDBOOK_` and its name in upper case."""

    model_config = SettingsConfigDict(env_prefix="HERDBOOK_", frozen=True, extra="ignore")

    listen: str = "127.0.0.1:7411"
    """Address and port to serve at; port 0 takes a free one."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that serve at the address; each counts watches, and serves metrics, by itself."""
    share_port: bool = False
    """Let other processes of the same user serve at the port, too."""
    data: Path = Path("herdbook-data")
    """Directory of the embedded database and chunk store."""
    database: str = "sqlite"
    """`sqlite`, in the data directory, or `postgresql://…`."""
    artifacts: str = "local"
    """`local`, in the data directory, or `s3://bucket/prefix`."""
    direct: bool = False
    """Let clients exchange chunks with S3 by signed requests, past the server."""
    direct_endpoint: str | None = None
    """Where S3 answers clients, such as `https://s3.example.org`, if elsewhere than the server."""
    migrate: bool = True
    """Bring the schema of a PostgreSQL database up to date at start; SQLite's always is."""

    tls_cert: Path | None = None
    """The server's certificate chain, PEM."""
    tls_key: Path | None = None
    """The key of the certificate, PEM."""
    tls_client_ca: Path | None = None
    """Certificate authorities, PEM; clients must then bring a certificate of theirs."""
    tokens_file: Path | None = None
    """Lines of `ACTOR TOKEN` or `ACTOR sha256:HEX`; clients must then bring a token."""
    insecure: bool = False
    """Serve a public address without TLS or without authentication."""

    max_message_bytes: Annotated[int, Field(ge=4 * MIB, le=256 * MIB)] = 16 * MIB
    """The largest message taken; what large a manifest may be follows from it."""
    max_watches: Annotated[int, Field(ge=1)] = 10_000
    """Watches that the server holds at once."""
    max_connection_age_seconds: Annotated[float, Field(gt=0)] | None = None
    """Close connections and end watches of that age, so that load balancers spread them anew."""
    drain_seconds: Annotated[float, Field(ge=0)] = 10.0
    """How long calls may take to end when the server stops."""
    health_interval_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How often the server asks the database and the chunk store whether they answer."""
    gc_grace_seconds: Annotated[float, Field(ge=2 * 60 * 60)] = 24 * 60 * 60.0
    """How long garbage collection spares a chunk after it was last touched; 2 hours at least."""
    gc_interval_seconds: Annotated[float, Field(ge=0)] = 24 * 60 * 60.0
    """How often one of the servers collects garbage by itself; 0 for never."""

    retention_seconds: Annotated[float, Field(ge=0)] = 30 * 24 * 60 * 60.0
    """How long what is deleted can be restored, before its files go for good; 0 for ever."""

    log_format: LogFormat = "text"
    """`text` for people, `json` for machines."""
    log_level: LogLevel = "info"
    """The least that is logged."""
    otlp_endpoint: str | None = Field(default=None)
    """Where traces and metrics go, such as `http://collector:4317`, beside OpenTelemetry's own."""
    prometheus_listen: str | None = None
    """Address and port to serve metrics at, in Prometheus' format."""
    ready_file: Path | None = None
    """A file to write the address into once the server answers."""

    @field_validator("listen", "prometheus_listen")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value

    @field_validator("database")
    @classmethod
    def _check_database(cls, value: str) -> str:
        if value != "sqlite" and urlsplit(value).scheme not in {"postgresql", "postgres"}:
            raise ValueError("expected `sqlite` or `postgresql://…`")
        return value

    @field_validator("artifacts")
    @classmethod
    def _check_artifacts(cls, value: str) -> str:
        if value != "local" and not value.startswith("s3://"):
            raise ValueError("expected `local` or `s3://bucket/prefix`")
        return value

    @model_validator(mode="after")
    def _check_direct(self) -> Self:
        if self.direct and self.artifacts == "local":
            raise ValueError("--direct needs --artifacts s3://…: a local directory is the server's")
        if self.direct_endpoint is not None and not self.direct:
            raise ValueError("--direct-endpoint is of no use without --direct")
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.workers > 1 and self.embedded_database:
            raise ValueError("--workers needs --database postgresql://…: SQLite is of one process")
        if self.workers > 1 and self.listen.startswith("unix:"):
            raise ValueError("--workers needs a port to share, such as --listen 127.0.0.1:7411")
        if (self.workers > 1 or self.share_port) and sys.platform != "linux":
            raise ValueError("--workers and --share-port need Linux, which shares connections out")
        return self

    @model_validator(mode="after")
    def _check_metrics_ports(self) -> Self:
        if self.workers > 1 and self.prometheus_listen is not None:
            host, first = split_address(self.prometheus_listen)
            ports = range(first, first + self.workers)
            served_host, served = split_address(self.listen)
            is_taken = _may_be_one({host, served_host}) and served in ports
            if first and (ports[-1] > MAX_PORT or is_taken):
                raise ValueError(
                    f"--prometheus-listen takes a port for each worker, {first} to {ports[-1]}, "
                    "which must exist and not be that of --listen"
                )
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key belong together: give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        return self

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        authenticated = self.tokens_file is not None or self.tls_client_ca is not None
        secure = self.tls_cert is not None and authenticated
        if not (secure or self.insecure or is_loopback(self.listen)):
            raise ValueError(
                f"{self.listen} can be reached from elsewhere: give --tls-cert, --tls-key, and "
                "--tokens-file or --tls-client-ca, or say --insecure if everyone who reaches it "
                "may do everything"
            )
        return self

    @property
    def embedded_database(self) -> bool:
        """Whether the database lies in the data directory."""
        return self.database == "sqlite"

    @property
    def embedded_artifacts(self) -> bool:
        """Whether the chunk store lies in the data directory."""
        return self.artifacts == "local"


def read_settings(**flags: object) -> Settings:
    """Return what the environment and the given flags make; a flag of None is not given.

    Raises:
        SettingsInvalid: They cannot be used; names the setting as its flag.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type] # checked by pydantic
    except ValidationError as error:
        raise SettingsInvalid("; ".join(_sentences(error))) from None


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:7411`, `[::1]:7411` or `unix:/path`, whose port is 0.

    Raises:
        ValueError: It is no such address.
    """
    if address.startswith("unix:"):
        return address, 0
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise ValueError("expected HOST:PORT, such as 127.0.0.1:7411")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _may_be_one(hosts: set[str]) -> bool:
    """Tell whether a port of one host may be that of the other."""
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - to compare with
    loopback = {"localhost", "127.0.0.1", "::1"}
    named = "localhost" in hosts and hosts <= loopback
    return len(hosts) == 1 or bool(hosts & everywhere) or named


def is_loopback(address: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    host, _ = split_address(address)
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _sentences(error: ValidationError) -> list[str]:
    return [
        "".join(f"{flag(str(name))}: " for name in detail["loc"])
        + detail["msg"].removeprefix("Value error, ")
        for detail in error.errors()
    ]


def flag(name: str) -> str:
    """Return how a setting is given at the command line; its variable is made of the same words."""
    return f"--{name.replace('_', '-')}"
