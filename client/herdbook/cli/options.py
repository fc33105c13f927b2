"""Options and arguments that several commands share, and how their texts are read."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

CONNECTION = "Connection and output"

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])(iB)?|B)?", re.IGNORECASE)
_SIZE_POWERS = "KMGT"
_DURATION_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_duration(text: str) -> float:
    """Reads `90`, `90s`, `5m`, `24h` or `1.5d` as seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration such as 30s, 5m or 24h")
    return float(match[1]) * _DURATION_SECONDS[match[2] or "s"]


def parse_timeout(text: str) -> float:
    """Reads a duration in which something can happen."""
    seconds = parse_duration(text)
    if seconds == 0:
        raise typer.BadParameter(f"{text!r} leaves no time; 30s or 5m does")
    return seconds


def parse_size(text: str) -> int:
    """Reads `1000`, `512MiB`, `5G` or `1.5TiB` as bytes; a K has 1024 of them."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size such as 512MiB or 5GiB")
    power = _SIZE_POWERS.index(match[2].upper()) + 1 if match[2] else 0
    return int(float(match[1]) * 1024**power)


def parse_share(text: str) -> float:
    """Reads `95%` or `0.95` as a share of one."""
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"{text!r} is no share such as 95% or 0.95")
    return share


def parse_pair(text: str) -> tuple[str, str]:
    """Reads `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def pairs_of(texts: list[str] | None) -> dict[str, str]:
    """Reads a repeated option of pairs; a key given twice is refused."""
    pairs: dict[str, str] = {}
    for key, value in map(parse_pair, texts or []):
        if key in pairs:
            raise typer.BadParameter(f"{key!r} is given twice")
        pairs[key] = value
    return pairs


def metrics_of(texts: list[str] | None) -> dict[str, float]:
    """Reads a repeated option of named numbers."""
    return {key: _number(key, value) for key, value in pairs_of(texts).items()}


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r}, the value of {key!r}, is no number") from None


ReferenceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="Which version: team/task@champion, team/task:7, team/task:2.1.0, team/task (newest).",
        show_default=False,
    ),
]
ModelArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)
]
TargetArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|REF",
        help="A bare name for the model itself, any other reference for a version.",
        show_default=False,
    ),
]
ReasonOption: TypeAlias = Annotated[
    str | None, typer.Option("--reason", "-m", metavar="TEXT", help="Why, for the record.")
]
ForceOption: TypeAlias = Annotated[
    bool,
    typer.Option("--force", help="Also if aliases point at it or live replicas serve it."),
]
YesOption: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
FilterOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--filter",
        "-f",
        metavar="FILTER",
        help='Such as: metrics.rmse < 7 AND tags.team = "fraud".',
    ),
]
OrderByOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--order-by", "-o", metavar="KEYS", help="Such as: metrics.rmse asc, number desc."
    ),
]
DeletedOption: TypeAlias = Annotated[
    bool, typer.Option("--deleted", help="Also show what is deleted.")
]
LimitOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        min=0,
        metavar="N",
        help="How many at most, 0 for all. Default: 50 for people, all with --json.",
    ),
]
ExpectOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--expect",
        min=0,
        metavar="VERSION",
        help="Only if it points at this version now; 0: only if it does not exist.",
    ),
]

ServerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="Which server; else HERDBOOK_SERVER, else localhost:7411.",
        rich_help_panel=CONNECTION,
    ),
]
TokenOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Proves who calls; better in HERDBOOK_TOKEN, which no process list shows.",
        show_default=False,
        rich_help_panel=CONNECTION,
    ),
]
TlsOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--tls/--no-tls",
        help="Encrypt; else as HERDBOOK_TLS says.",
        show_default=False,
        rich_help_panel=CONNECTION,
    ),
]
TlsCaOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        help="Authorities to trust, in PEM; implies --tls.",
        rich_help_panel=CONNECTION,
    ),
]
TlsCertOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        metavar="FILE",
        help="This client's certificate, in PEM; implies --tls.",
        rich_help_panel=CONNECTION,
    ),
]
TlsKeyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--tls-key",
        metavar="FILE",
        help="The key of that certificate, in PEM.",
        rich_help_panel=CONNECTION,
    ),
]
CallTimeoutOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--call-timeout",
        metavar="DURATION",
        parser=parse_timeout,
        help="How long a call may take with its retries; 30s unless given.",
        rich_help_panel=CONNECTION,
    ),
]
JsonOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write JSON: one document, or one a line for streams.",
        rich_help_panel=CONNECTION,
    ),
]
