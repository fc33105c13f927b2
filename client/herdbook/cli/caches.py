"""Commands about the cache of this machine, which need no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from herdbook.cache import Cache, CacheContents
from herdbook.cli.exits import ExitCode
from herdbook.cli.options import parse_size
from herdbook.cli.panels import FILES
from herdbook.cli.session import Session, command
from herdbook.cli.texts import age, size_text

_COLUMNS = ("DIGEST", "SIZE", "USED", "STATE")
_SHORT_DIGEST = len("sha256:") + 12

DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        file_okay=False,
        help="Another cache than this user's.",
        show_default=False,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    caches = typer.Typer(
        help="Look at what this machine keeps, make room, verify.", no_args_is_help=True
    )
    command(caches, "ls", examples=("herdbook cache ls", "herdbook cache ls --json"))(list_cache)
    prunes = ("herdbook cache prune", "herdbook cache prune --max-size 5GiB")
    command(caches, "prune", examples=prunes)(prune)
    command(caches, "verify", examples=("herdbook cache verify",))(verify)
    app.add_typer(caches, name="cache", rich_help_panel=FILES)


def list_cache(session: Session, *, cache_dir: DirectoryOption = None) -> None:
    """List the versions in the cache, the one used last first."""
    cache = Cache(cache_dir)
    held = cache.contents()
    if session.output.as_json:
        session.output.document(
            {
                "directory": str(cache.directory),
                "max_bytes": cache.max_bytes,
                "size_bytes": held.size_bytes,
                "versions": held.versions,
                "chunk_count": held.chunk_count,
                "chunk_bytes": held.chunk_bytes,
            }
        )
        return
    rows = (
        (
            version.digest[:_SHORT_DIGEST],
            size_text(version.size_bytes),
            age(version.used_at),
            _state(whole=version.whole, in_use=version.in_use, kept=version.kept),
        )
        for version in held.versions
    )
    session.output.table(_COLUMNS, rows, empty="No versions.")
    session.output.note(_summary(cache, held))


def prune(
    session: Session,
    *,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="How much may stay, such as 5GiB or 0; else the cache's own bound.",
            show_default=False,
        ),
    ] = None,
    cache_dir: DirectoryOption = None,
) -> None:
    """Delete what was used longest ago; what is in use or served last stays."""
    cache = Cache(cache_dir)
    freed_bytes = cache.prune(max_bytes=None if max_size is None else parse_size(max_size))
    if session.output.as_json:
        session.output.document({"freed_bytes": freed_bytes, "size_bytes": cache.size_bytes()})
        return
    session.output.say(f"Freed {size_text(freed_bytes)}; {_summary(cache, cache.contents())}")


def verify(session: Session, *, cache_dir: DirectoryOption = None) -> None:
    """Hash all of the cache; damaged chunks go, damaged versions are repaired when used next.

    The exit code is not 0 when something was damaged.
    """
    found = Cache(cache_dir).check()
    if session.output.as_json:
        session.output.document(found)
    else:
        for digest in found.damaged_versions:
            session.output.say(f"Damaged: version {digest}; its next use repairs it.")
        for digest in found.removed_chunks:
            session.output.say(f"Removed: chunk {digest}, which was damaged.")
        session.output.say(f"Verified {size_text(found.checked_bytes)}.")
    if found.damaged_versions or found.removed_chunks:
        raise typer.Exit(ExitCode.DAMAGED)


def _state(*, whole: bool, in_use: bool, kept: bool) -> str:
    words = ["whole" if whole else "partial"]
    words += ["in use"] if in_use else []
    words += ["served last"] if kept else []
    return ", ".join(words)


def _summary(cache: Cache, held: CacheContents) -> str:
    return (
        f"{cache.directory} holds {size_text(held.size_bytes)} of at most "
        f"{size_text(cache.max_bytes)}, {held.chunk_count} single chunks among it."
    )
