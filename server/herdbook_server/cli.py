"""The commands that run a server; where it is installed, the client's command line has them too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

EXIT_START_FAILED = 1
EXIT_SETTINGS_INVALID = 78
"""EX_CONFIG of sysexits.h."""

_NETWORK = "Network and security"
_OBSERVATION = "Observation"

Data = Annotated[
    Path | None,
    typer.Option(
        help="Directory of the embedded database and chunk store.", show_default="herdbook-data"
    ),
]
Database = Annotated[
    str | None, typer.Option(help="sqlite, or postgresql://…", show_default="sqlite")
]
Artifacts = Annotated[
    str | None, typer.Option(help="local, or s3://bucket/prefix", show_default="local")
]
Direct = Annotated[
    bool | None,
    typer.Option(
        "--direct/--no-direct",
        help="Let clients exchange chunks with S3 by signed requests, past the server.",
        show_default="--no-direct",
    ),
]
DirectEndpoint = Annotated[
    str | None,
    typer.Option(
        help="Where S3 answers clients, such as https://s3.example.org.",
        show_default="where it answers the server",
    ),
]
Migrate = Annotated[
    bool | None,
    typer.Option(
        "--migrate/--no-migrate",
        help="Bring PostgreSQL's schema to the newest at start, as SQLite's always is.",
        show_default="--migrate",
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        help="Address and port to serve at; port 0 takes a free one.",
        show_default="127.0.0.1:7411",
        rich_help_panel=_NETWORK,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that serve at the address, over PostgreSQL.",
        show_default="1",
        rich_help_panel=_NETWORK,
    ),
]
SharePort = Annotated[
    bool | None,
    typer.Option(
        "--share-port",
        help="Let other processes of the same user serve at the port, too.",
        rich_help_panel=_NETWORK,
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(help="The server's certificate chain, PEM.", rich_help_panel=_NETWORK),
]
TlsKey = Annotated[
    Path | None, typer.Option(help="The certificate's key, PEM.", rich_help_panel=_NETWORK)
]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        help="Authorities, PEM, whose certificates clients must bring.", rich_help_panel=_NETWORK
    ),
]
TokensFile = Annotated[
    Path | None,
    typer.Option(
        help="Lines of 'ACTOR TOKEN' or 'ACTOR sha256:HEX'; clients must bring a token.",
        rich_help_panel=_NETWORK,
    ),
]
Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure",
        help="Serve a public address without TLS or without authentication.",
        rich_help_panel=_NETWORK,
    ),
]
MaxWatches = Annotated[
    int | None,
    typer.Option(help="Watches held at once.", show_default="10000", rich_help_panel=_NETWORK),
]
MaxMessageBytes = Annotated[
    int | None,
    typer.Option(
        help="The largest message taken; it bounds manifests.",
        show_default="16777216",
        rich_help_panel=_NETWORK,
    ),
]
MaxConnectionAgeSeconds = Annotated[
    float | None,
    typer.Option(
        help="Close connections and end watches of that age, so that balancers spread them anew.",
        show_default="never",
        rich_help_panel=_NETWORK,
    ),
]
DrainSeconds = Annotated[
    float | None,
    typer.Option(
        help="How long calls may take to end when the server stops.",
        show_default="10",
        rich_help_panel=_NETWORK,
    ),
]
GcGraceSeconds = Annotated[
    float | None,
    typer.Option(
        help="How long garbage collection spares a chunk that nothing lists, 2 hours at least.",
        show_default="86400",
    ),
]
GcIntervalSeconds = Annotated[
    float | None,
    typer.Option(
        help="How often one of the servers collects garbage by itself; 0 for never.",
        show_default="86400",
    ),
]
RetentionSeconds = Annotated[
    float | None,
    typer.Option(
        help="How long what is deleted can be restored, before its files go for good; 0 for ever.",
        show_default="2592000",
    ),
]
HealthIntervalSeconds = Annotated[
    float | None,
    typer.Option(
        help="How often the database and the chunk store are asked whether they answer.",
        show_default="10",
        rich_help_panel=_OBSERVATION,
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(help="text or json", show_default="text", rich_help_panel=_OBSERVATION),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        help="debug, info, warning or error", show_default="info", rich_help_panel=_OBSERVATION
    ),
]
OtlpEndpoint = Annotated[
    str | None,
    typer.Option(
        help="Where traces and metrics go, such as http://collector:4317",
        rich_help_panel=_OBSERVATION,
    ),
]
PrometheusListen = Annotated[
    str | None,
    typer.Option(
        help="Address and port to serve metrics at, in Prometheus' format.",
        rich_help_panel=_OBSERVATION,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ReadyFile = Annotated[
    Path | None,
    typer.Option(
        help="A file to write the address into once the server answers.",
        rich_help_panel=_OBSERVATION,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add `serve` and `migrate` to a command line."""
    app.command()(serve)
    app.command()(migrate)


def main() -> None:
    """Run the server's own command line."""
    app = typer.Typer(name="herdbook", no_args_is_help=True, add_completion=False)
    add_commands(app)
    app()


def serve(
    *,
    data: Data = None,
    listen: Listen = None,
    workers: Workers = None,
    share_port: SharePort = None,
    gc_grace_seconds: GcGraceSeconds = None,
    gc_interval_seconds: GcIntervalSeconds = None,
    retention_seconds: RetentionSeconds = None,
    database: Database = None,
    artifacts: Artifacts = None,
    direct: Direct = None,
    direct_endpoint: DirectEndpoint = None,
    migrate: Migrate = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    tokens_file: TokensFile = None,
    insecure: Insecure = None,
    max_watches: MaxWatches = None,
    max_message_bytes: MaxMessageBytes = None,
    max_connection_age_seconds: MaxConnectionAgeSeconds = None,
    drain_seconds: DrainSeconds = None,
    health_interval_seconds: HealthIntervalSeconds = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    otlp_endpoint: OtlpEndpoint = None,
    prometheus_listen: PrometheusListen = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run a registry server until it is told to stop.

    Every option can be given as an environment variable: HERDBOOK_LISTEN and so on.
    """
    _run("serve", locals())


def migrate(*, data: Data = None, database: Database = None, json: Json = False) -> None:
    """Bring the database's schema to the newest."""
    steps = _run("migrate", {"data": data, "database": database})
    sentence = f"The schema is up to date; steps applied: {steps}."
    typer.echo(f'{{"steps": {steps}}}' if json else sentence)


def _run(command: str, flags: dict[str, Any]) -> Any:
    """Run a command of `process`; what a person can mend ends it with one line and no traceback."""
    from herdbook_server import process
    from herdbook_server.app import StartFailed
    from herdbook_server.settings import SettingsInvalid, read_settings

    try:
        return getattr(process, command)(read_settings(**flags))
    except SettingsInvalid as error:
        _end(f"The settings cannot be used: {error}", EXIT_SETTINGS_INVALID)
    except StartFailed as error:
        _end(str(error), EXIT_START_FAILED)


def _end(sentence: str, code: int) -> NoReturn:
    typer.echo(f"herdbook: {sentence}", err=True)
    raise typer.Exit(code)
