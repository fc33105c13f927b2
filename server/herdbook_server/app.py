"""The composition: builds what settings ask for, runs it, and takes it down again in order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from herdbook_server import data, telemetry
from herdbook_server.artifacts.direct import DirectTransfers
from herdbook_server.artifacts.downloads import Downloads
from herdbook_server.artifacts.garbage import GarbageCollector
from herdbook_server.artifacts.uploads import Uploads
from herdbook_server.artifacts.verifying import Verifier
from herdbook_server.clock import SystemClock
from herdbook_server.errors import DatabaseUnavailable
from herdbook_server.figures import delay_recorder, report_gauges
from herdbook_server.measured import MeasuredChunkStore, MeasuredDatabase
from herdbook_server.ports.chunks import ChunkStore, StoreError, StoreFull
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.direct import DirectAccess
from herdbook_server.ports.values import Event
from herdbook_server.registry.aliases import AliasRegistry
from herdbook_server.registry.events import EventLog
from herdbook_server.registry.models import ModelRegistry
from herdbook_server.registry.retention import Retention
from herdbook_server.registry.stages import StageRegistry
from herdbook_server.registry.versions import VersionRegistry
from herdbook_server.rpc.authentication import Authentication, Tokens, TokensInvalid
from herdbook_server.rpc.endless import EndlessCalls
from herdbook_server.rpc.health import Health
from herdbook_server.rpc.interceptors import Layer
from herdbook_server.rpc.measuring import Measuring
from herdbook_server.rpc.refusals import Refusals
from herdbook_server.rpc.request_log import RequestLog
from herdbook_server.rpc.server import (
    ARTIFACT_SERVICE,
    SERVICES,
    AddressUnusable,
    Servicers,
    Tls,
    TlsUnusable,
    Transport,
    add_port,
    create_server,
)
from herdbook_server.rpc.services.aliases import AliasServicer
from herdbook_server.rpc.services.artifacts import ArtifactServicer
from herdbook_server.rpc.services.events import EventServicer
from herdbook_server.rpc.services.fleet import FleetServicer
from herdbook_server.rpc.services.models import ModelServicer
from herdbook_server.rpc.services.server import ServerServicer
from herdbook_server.rpc.services.versions import VersionServicer
from herdbook_server.settings import Settings, split_address
from herdbook_server.storage.sql.migrate import SchemaRefused
from herdbook_server.telemetry import Telemetry
from herdbook_server.upkeep import Upkeep
from herdbook_server.watch.announcing import Announcer
from herdbook_server.watch.fleet import Fleet
from herdbook_server.watch.hub import Hub

logger = logging.getLogger(__name__)

_RESTART_SECONDS = 1.0


class StartFailed(Exception):
    """The server cannot start; one sentence says why."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers."""

    address: str
    """Where it listens, with the port that was taken."""
    port: int
    authentication: Authentication
    hub: Hub


@dataclass(frozen=True, slots=True)
class _Engines:
    """What everything else rests on."""

    database: Database
    chunks: ChunkStore
    direct: DirectAccess | None
    """To the same chunks, for clients."""
    clock: Clock
    telemetry: Telemetry | None


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[RunningServer]:
    """Run a server until the block ends, then drain and stop it.

    Raises:
        StartFailed: Something that it needs is not there, or in use.
    """
    async with AsyncExitStack() as stack:
        with _start_failures():
            engines = await _open_engines(settings, stack)
            server = await _start(settings, engines, stack)
        yield server


async def migrate(settings: Settings) -> int:
    """Bring the database's schema to the newest; returns how many steps that took.

    Raises:
        StartFailed: The database cannot be reached, or is in use.
    """
    async with AsyncExitStack() as stack:
        with _start_failures():
            database = await _open_database(settings, stack)
            return await database.migrate()


async def _open_engines(settings: Settings, stack: AsyncExitStack) -> _Engines:
    collected = telemetry.start(settings.otlp_endpoint, _optional_address(settings))
    if collected is not None:
        stack.push_async_callback(asyncio.to_thread, collected.close)
    database = await _open_database(settings, stack)
    if settings.embedded_database or settings.migrate:
        await database.migrate()
    chunks = await _open_chunks(settings, stack)
    direct = await _open_direct(settings, stack)
    if collected is not None:
        database = MeasuredDatabase(database, collected.meter)
        chunks = MeasuredChunkStore(chunks, collected.meter)
    return _Engines(database, chunks, direct, SystemClock(), collected)


async def _open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    database: Database
    if settings.embedded_database:
        directory = stack.enter_context(data.held(settings.data))
        from herdbook_server.storage.sql.sqlite import SqliteDatabase

        database = await SqliteDatabase.open(directory / data.DATABASE)
    else:
        from herdbook_server.storage.sql.postgres import PostgresDatabase

        database = await PostgresDatabase.open(settings.database)
    stack.push_async_callback(database.close)
    return database


async def _open_chunks(settings: Settings, stack: AsyncExitStack) -> ChunkStore:
    chunks: ChunkStore
    if settings.embedded_artifacts:
        from herdbook_server.storage.chunks.local import LocalChunkStore

        chunks = LocalChunkStore(settings.data / data.ARTIFACTS)
    else:
        from herdbook_server.storage.chunks.s3 import S3ChunkStore
        from herdbook_server.storage.chunks.s3_bucket import S3Location

        chunks = S3ChunkStore(S3Location.parse(settings.artifacts))
    await chunks.open()
    stack.push_async_callback(chunks.close)
    try:
        await chunks.check()
    except StoreFull as error:
        # What is stored can be read, and garbage collected to make room.
        logger.warning("The chunk store takes no writes: %s", error)
    return chunks


async def _open_direct(settings: Settings, stack: AsyncExitStack) -> DirectAccess | None:
    if settings.embedded_artifacts:
        return None
    from herdbook_server.storage.chunks.s3_bucket import S3Location
    from herdbook_server.storage.chunks.s3_direct import S3DirectAccess

    location = S3Location.parse(settings.artifacts)
    direct = S3DirectAccess(
        location, endpoint_url=settings.direct_endpoint, offered=settings.direct
    )
    stack.push_async_callback(direct.close)
    await direct.open()
    return direct


async def _start(settings: Settings, engines: _Engines, stack: AsyncExitStack) -> RunningServer:
    database, clock = engines.database, engines.clock
    announcer = Announcer(database=database, clock=clock)
    fleet = Fleet(database=database, clock=clock, on_heard=announcer.notice)
    hub = _hub(settings, engines, fleet, announcer)
    health = Health(
        database=database.revision,
        chunk_store=engines.chunks.check,
        services=SERVICES,
        artifact_service=ARTIFACT_SERVICE,
        interval_seconds=settings.health_interval_seconds,
    )
    authentication = _authentication(settings)
    transport = _transport(settings)
    endless = EndlessCalls()
    layers = [*_layers(authentication, engines.telemetry), endless]
    uploads = Uploads(database=database, chunks=engines.chunks, clock=clock)
    stack.push_async_callback(uploads.close)
    servicers = _servicers(settings, engines, fleet, hub, uploads=uploads)
    server = create_server(servicers, health, layers, transport)
    port = add_port(server, settings.listen, transport)
    await health.check()
    works = {
        "hub": hub.run,
        "fleet": fleet.run,
        "announcer": announcer.run,
        "health": health.run,
        "upkeep": _upkeep(settings, engines).run,
    }
    tasks = {
        asyncio.create_task(_keep_running(name, work), name=name) for name, work in works.items()
    }
    stack.push_async_callback(_end, tasks)
    await server.start()
    stack.push_async_callback(_drain, settings, [health.drain, hub.drain, endless.drain], server)
    running_server = RunningServer(address_at(settings.listen, port), port, authentication, hub)
    _announce(settings, engines, running_server)
    return running_server


def _hub(settings: Settings, engines: _Engines, fleet: Fleet, announcer: Announcer) -> Hub:
    on_told: list[Callable[[Sequence[Event]], None]] = [announcer.follow]
    if engines.telemetry is not None:
        on_told.append(delay_recorder(engines.telemetry.meter, engines.clock))
    hub = Hub(
        database=engines.database,
        fleet=fleet,
        max_watches=settings.max_watches,
        max_watch_seconds=settings.max_connection_age_seconds,
        on_told=on_told,
    )
    if engines.telemetry is not None:
        report_gauges(engines.telemetry, hub, fleet)
    return hub


def _garbage_collector(settings: Settings, engines: _Engines) -> GarbageCollector:
    return GarbageCollector(
        database=engines.database,
        chunks=engines.chunks,
        direct=engines.direct,
        clock=engines.clock,
        retention=Retention(
            database=engines.database, clock=engines.clock, seconds=settings.retention_seconds
        ),
        grace_seconds=settings.gc_grace_seconds,
    )


def _upkeep(settings: Settings, engines: _Engines) -> Upkeep:
    return Upkeep(
        database=engines.database,
        clock=engines.clock,
        garbage_collector=_garbage_collector(settings, engines),
        gc_interval_seconds=settings.gc_interval_seconds,
    )


def _servicers(
    settings: Settings, engines: _Engines, fleet: Fleet, hub: Hub, *, uploads: Uploads
) -> Servicers:
    database, chunks, clock = engines.database, engines.chunks, engines.clock
    return Servicers(
        models=ModelServicer(ModelRegistry(database=database, clock=clock)),
        versions=VersionServicer(
            VersionRegistry(database=database, clock=clock),
            StageRegistry(database=database, clock=clock),
        ),
        aliases=AliasServicer(AliasRegistry(database=database, clock=clock), hub),
        artifacts=ArtifactServicer(
            uploads=uploads,
            downloads=Downloads(database=database, chunks=chunks),
            direct=DirectTransfers(database=database, clock=clock, access=engines.direct),
            verifier=Verifier(database=database, chunks=chunks),
            garbage_collector=_garbage_collector(settings, engines),
        ),
        fleet=FleetServicer(fleet, clock),
        events=EventServicer(EventLog(database=database)),
        server=ServerServicer(database, clock, chunk_store=_chunk_store_name(settings)),
    )


def _layers(authentication: Authentication, collected: Telemetry | None) -> list[Layer]:
    """Return what surrounds calls, the outermost first."""
    layers: list[Layer] = [RequestLog()]
    if collected is not None:
        layers.append(Measuring(collected.tracer, collected.meter))
    return [*layers, Refusals(), authentication]


def _authentication(settings: Settings) -> Authentication:
    tokens = None if settings.tokens_file is None else Tokens.read(settings.tokens_file)
    return Authentication(tokens, client_certificates=settings.tls_client_ca is not None)


def _transport(settings: Settings) -> Transport:
    tls = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls = Tls(settings.tls_key, settings.tls_cert, settings.tls_client_ca)
    return Transport(
        max_message_bytes=settings.max_message_bytes,
        max_connection_age_seconds=settings.max_connection_age_seconds,
        share_port=settings.share_port,
        tls=tls,
    )


async def _keep_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run what must not end before the server does; what it did not foresee is logged."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("The %s failed and starts again", name)
        await asyncio.sleep(_RESTART_SECONDS)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """End all at once: each may wait for a database that does not answer."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _drain(
    settings: Settings, ends: Sequence[Callable[[], None]], server: grpc.aio.Server
) -> None:
    """Tell callers to go elsewhere, end what has no end of its own, and let other calls end."""
    logger.info("draining", extra={"fields": {"grace_seconds": settings.drain_seconds}})
    for end in ends:
        end()
    await server.stop(settings.drain_seconds)
    logger.info("stopped")


def _announce(settings: Settings, engines: _Engines, server: RunningServer) -> None:
    fields = {
        "address": server.address,
        "database": engines.database.engine,
        "chunk_store": _chunk_store_name(settings),
        "data": str(settings.data.resolve()) if _uses_data(settings) else "",
        "tls": settings.tls_cert is not None,
        "authentication": server.authentication.required,
    }
    logger.info("listening", extra={"fields": fields})
    write_ready_file(settings, server.address)


def write_ready_file(settings: Settings, address: str) -> None:
    """Tell whoever waits for it that the server answers.

    Raises:
        StartFailed: The file cannot be written.
    """
    if settings.ready_file is None:
        return
    try:
        _replace(settings.ready_file, f"{address}\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartFailed(
            f"The ready file {settings.ready_file} cannot be written: {reason}."
        ) from error


def _replace(path: Path, text: str) -> None:
    """Write a file that nobody reads half."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _chunk_store_name(settings: Settings) -> str:
    return "local" if settings.embedded_artifacts else "s3"


def _uses_data(settings: Settings) -> bool:
    return settings.embedded_database or settings.embedded_artifacts


def _optional_address(settings: Settings) -> tuple[str, int] | None:
    address = settings.prometheus_listen
    return None if address is None else split_address(address)


def address_at(listen: str, port: int) -> str:
    """Return where the server listens, with the port that was taken for port 0."""
    host, asked = split_address(listen)
    if asked:
        return listen
    if listen.startswith("unix:"):
        return listen
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _start_failures() -> Iterator[None]:
    """Turn what the machine or the operator can mend into one sentence."""
    try:
        yield
    except (
        AddressUnusable,
        DatabaseUnavailable,
        data.DataDirectoryUnusable,
        SchemaRefused,
        StoreError,
        telemetry.TelemetryFailed,
        TlsUnusable,
        TokensInvalid,
    ) as error:
        raise StartFailed(str(error)) from error
    except (OSError, ValueError) as error:
        raise StartFailed(f"The server cannot start: {error}") from error
