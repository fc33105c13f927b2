"""Results, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.machine import Machine
from tests.bench.measuring import Comparison, Fact, Note, Row, Spread

COLUMNS = ("what", "n", "result", "baseline", "ratio", "aim")


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of one benchmark."""

    benchmark: str
    title: str
    rows: tuple[Row, ...]


def table(result: Result) -> str:
    """Draw a benchmark's rows."""
    lines = [cells(row) for row in result.rows if not isinstance(row, Note)]
    notes = [row.text for row in result.rows if isinstance(row, Note)]
    drawn = grid([COLUMNS, *lines]) if lines else []
    return "\n".join([f"{result.benchmark}: {result.title}", *drawn, *(f"  {n}" for n in notes)])


def cells(row: Comparison | Fact) -> tuple[str, ...]:
    """Return what the columns of a row show."""
    if isinstance(row, Fact):
        return (row.name, "", f"{number(row.value)} {row.unit}", "", "", "")
    subject, baseline = Spread.of(row.subject), Spread.of(row.baseline)
    return (
        row.name,
        str(subject.count),
        f"{spread(subject)} {row.unit}",
        f"{spread(baseline)} {row.unit} ({row.baseline_name})",
        spread(row.ratio),
        "" if row.aim is None else aim(row),
    )


def aim(row: Comparison) -> str:
    """Return the aim of a row, and whether it is met."""
    assert row.aim is not None
    sign, met = (">=", row.ratio.median >= row.aim)
    if row.better == "lower":
        sign, met = ("<=", row.ratio.median <= row.aim)
    return f"{sign} {number(row.aim)} {'met' if met else 'missed'}"


def spread(figures: Spread) -> str:
    """Return a median with its deviation."""
    return f"{number(figures.median)} ±{number(figures.deviation)}"


def number(value: float) -> str:
    """Return three significant digits or all whole ones, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) < 10 else 1
    return f"{value:.{digits + 1 if abs(value) < 0.1 else digits}f}"


def grid(lines: Sequence[Sequence[str]]) -> list[str]:
    """Align columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return [line.rstrip() for line in padded]


def write_json(path: Path, machine: Machine, results: Iterable[Result]) -> None:
    """Write every sample of every row, and the medians."""
    content = {
        "machine": asdict(machine),
        "results": [
            {
                "benchmark": result.benchmark,
                "title": result.title,
                "rows": [plain(row) for row in result.rows],
            }
            for result in results
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def plain(row: Row) -> dict[str, object]:
    """Return a row as JSON has it."""
    figures: dict[str, object] = {"kind": type(row).__name__.lower(), **asdict(row)}
    if isinstance(row, Comparison):
        figures["subject_spread"] = asdict(Spread.of(row.subject))
        figures["baseline_spread"] = asdict(Spread.of(row.baseline))
        figures["ratio"] = asdict(row.ratio)
    return figures
