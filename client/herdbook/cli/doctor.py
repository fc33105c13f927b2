"""The command that looks for what is wrong between this machine and a server."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from herdbook.cli.errors import hint_of
from herdbook.cli.exits import ExitCode
from herdbook.cli.panels import SERVER
from herdbook.cli.session import Session, command
from herdbook.cli.texts import size_text
from herdbook.core.values import ServerInfo
from herdbook.errors import HerdbookError

_CALLS = 5
_SKEW_WARNING_SECONDS = 2.0
_SKEW_FAILURE_SECONDS = 60.0
_LEAST_FREE_BYTES = 1024**3


class Finding(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    finding: Finding
    detail: str

    hint: str = ""
    """What a person might do about it."""


@dataclass(frozen=True, slots=True)
class Contact:
    """What asking the server told."""

    info: ServerInfo

    latency_seconds: float
    """Median of several calls on a warm connection."""

    skew_seconds: float
    """How far the server's clock is ahead of ours."""


def add_commands(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    examples = ("herdbook doctor", "herdbook doctor --server registry.internal:7411 --json")
    command(app, "doctor", examples=examples, panel=SERVER)(doctor)


def doctor(session: Session) -> None:
    """Check server, connection, credentials, clocks, versions and cache.

    The exit code is not 0 when something is wrong.
    """
    checks = list(run_checks(session))
    healthy = all(check.finding is not Finding.FAILED for check in checks)
    if session.output.as_json:
        session.output.document({"healthy": healthy, "checks": checks})
    else:
        for check in checks:
            _tell(session, check)
    if not healthy:
        raise typer.Exit(ExitCode.FAILED)


_STYLES = {Finding.OK: "green", Finding.WARNING: "yellow", Finding.FAILED: "red"}


def _tell(session: Session, check: Check) -> None:
    style = _STYLES[check.finding]
    session.output.say(f"{check.finding.value:8}{check.name:12}{check.detail}", style=style)
    if check.hint:
        session.output.say(f"{'':20}{check.hint}", style="dim")


def run_checks(session: Session) -> Iterator[Check]:
    """Looks at everything, what does not need the server even if that is away."""
    yield check_software()
    yield from _checks_of_server(session)
    yield check_cache(cache_directory())


def _checks_of_server(session: Session) -> Iterator[Check]:
    try:
        server = session.client.server
        contact = contact_of(session.client.get_server_info)
    except HerdbookError as error:
        hint = hint_of(error, server=session.server)
        yield Check("server", Finding.FAILED, f"{error} [{error.reason}]", hint)
        return
    yield check_latency(server, contact)
    yield check_encryption(server, encrypted=_encrypted(session))
    yield Check("actor", Finding.OK, f"the server takes you for {contact.info.actor}")
    yield check_versions(installed("herdbook"), contact.info.software_version)
    yield check_clock(contact.skew_seconds)
    info = contact.info
    stores = f"{info.database} and {info.chunk_store} chunks, revision {info.revision}"
    yield Check("stores", Finding.OK, stores)


def contact_of(get_server_info: Callable[[], ServerInfo]) -> Contact:
    """Asks the server several times; the first answer also opens the connection."""
    get_server_info()
    asked = [_timed(get_server_info) for _ in range(_CALLS)]
    quickest, skew, info = min(asked, key=lambda answer: answer[0])
    del quickest
    return Contact(info, statistics.median(seconds for seconds, _, _ in asked), skew)


def _timed(get_server_info: Callable[[], ServerInfo]) -> tuple[float, float, ServerInfo]:
    before, started = datetime.now(UTC), time.monotonic()
    info = get_server_info()
    seconds = time.monotonic() - started
    return seconds, (info.time - before).total_seconds() - seconds / 2, info


def check_software() -> Check:
    """Names the versions at work here."""
    packages = ", ".join(f"{name} {installed(name)}" for name in ("grpcio", "protobuf"))
    ours = f"herdbook {installed('herdbook')}, Python {platform.python_version()}"
    return Check("client", Finding.OK, f"{ours}, {packages}")


def installed(package: str) -> str:
    """Tells the installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "of no known version"


def check_latency(server: str, contact: Contact) -> Check:
    """Tells how quick the server answers."""
    milliseconds = contact.latency_seconds * 1000
    return Check("server", Finding.OK, f"{server} answers in {milliseconds:.1f} ms")


def check_encryption(server: str, *, encrypted: bool) -> Check:
    """Warns of a connection in the clear that leaves this machine."""
    from herdbook.transport.connection import is_loopback

    if encrypted:
        return Check("encryption", Finding.OK, "TLS")
    if is_loopback(server):
        return Check("encryption", Finding.OK, "none, on this machine only")
    hint = "--tls or HERDBOOK_TLS=1 encrypts"
    return Check("encryption", Finding.WARNING, "none: others can read along", hint)


def _encrypted(session: Session) -> bool:
    from herdbook.cli.session import tls_of
    from herdbook.transport.connection import Connection

    return (
        Connection.configured(session.settings.server, tls=tls_of(session.settings)).tls is not None
    )


def check_versions(ours: str, theirs: str) -> Check:
    """Warns if client and server are of different releases."""
    if ours.split(".")[:2] == theirs.split(".")[:2]:
        return Check("versions", Finding.OK, f"the server has herdbook {theirs}")
    detail = f"the server has herdbook {theirs}, this is {ours}"
    return Check("versions", Finding.WARNING, detail, "calls that one side lacks are refused")


def check_clock(skew_seconds: float) -> Check:
    """Warns if the clocks disagree; times in the record are the server's."""
    direction = "ahead of" if skew_seconds > 0 else "behind"
    distance = abs(skew_seconds)
    if distance < _SKEW_WARNING_SECONDS:
        return Check("clock", Finding.OK, f"the server's agrees within {distance:.3f} s")
    finding = Finding.WARNING if distance < _SKEW_FAILURE_SECONDS else Finding.FAILED
    detail = f"the server's is {distance:.0f} s {direction} ours"
    return Check("clock", finding, detail, "let both follow a time server")


def cache_directory() -> Path:
    """Tells where the cache of this machine lies."""
    from herdbook.cache import Cache

    return Path(Cache().directory)


def check_cache(directory: Path) -> Check:
    """Looks whether the cache can be written, how large it is, and what room is left."""
    try:
        existing = next(path for path in (directory, *directory.parents) if path.exists())
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor-"):
            free_bytes = shutil.disk_usage(existing).free
    except OSError as error:
        detail = f"{directory} cannot be written: {error.strerror}"
        return Check("cache", Finding.FAILED, detail, "HERDBOOK_CACHE_DIR names another directory")
    detail = f"{directory}: {size_text(size_of(directory))}, {size_text(free_bytes)} free"
    if free_bytes < _LEAST_FREE_BYTES:
        return Check("cache", Finding.WARNING, detail, "little room is left")
    return Check("cache", Finding.OK, detail)


def size_of(directory: Path) -> int:
    """Adds up the files of a directory, those with several names once."""
    files: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                status = Path(parent, name).lstat()
            except OSError:  # evicted meanwhile
                continue
            files[status.st_dev, status.st_ino] = status.st_size
    return sum(files.values())
