"""Run benchmarks: `python -m tests.bench [NAME …] [--json FILE]`."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.bench import catalogue, reporting
from tests.bench.machine import Machine
from tests.bench.options import MIB, Options
from tests.bench.reporting import Result

SCRATCH = Path(__file__).resolve().parents[2] / ".cache" / "bench"
DEFAULTS = Options(home=SCRATCH)


def main() -> None:
    """Run what the command line asks for; print each table as soon as it is there."""
    arguments = parse_arguments()
    machine = Machine.here()
    print(f"{machine}\n")
    results = [run(name, arguments) for name in arguments.names or catalogue.BENCHMARKS]
    if arguments.json:
        reporting.write_json(arguments.json, machine, results)


def run(name: str, arguments: argparse.Namespace) -> Result:
    """Run one benchmark in a directory of its own, and print its table."""
    benchmark = catalogue.BENCHMARKS[name]
    arguments.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=arguments.directory) as home:
        rows = uvloop.run(benchmark.run(options(arguments, Path(home))))
    result = Result(name, benchmark.TITLE, tuple(rows))
    print(f"{reporting.table(result)}\n", flush=True)
    return result


def options(arguments: argparse.Namespace, home: Path) -> Options:
    """Return what the command line asks for."""
    return dataclasses.replace(
        DEFAULTS,
        home=home,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        transfer_bytes=arguments.transfer_mib * MIB,
        transfer_rounds=arguments.transfer_rounds,
        moves=arguments.moves,
        watches=arguments.watches,
        versions=arguments.versions,
        engines=tuple(arguments.engine or DEFAULTS.engines),
        s3=arguments.s3,
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    names = ", ".join(catalogue.BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", type=known_benchmark, help=names)
    add("--json", type=Path, metavar="FILE", help="write every sample there")
    add("--directory", type=Path, default=SCRATCH, help="where data goes; picks the disk")
    add("--engine", action="append", choices=DEFAULTS.engines, help="only this; may be repeated")
    add("--rounds", type=int, default=DEFAULTS.rounds)
    add("--seconds", type=float, default=DEFAULTS.seconds, help="of one turn of a throughput")
    add("--transfer-mib", type=int, default=DEFAULTS.transfer_bytes // MIB)
    add("--transfer-rounds", type=int, default=DEFAULTS.transfer_rounds)
    add("--moves", type=int, default=DEFAULTS.moves)
    add("--watches", type=int, default=DEFAULTS.watches)
    add("--versions", type=int, default=DEFAULTS.versions, help="that a search goes through")
    add("--s3", action="store_true", help="transfer by way of an S3 server too")
    return parser.parse_args(arguments)


def known_benchmark(name: str) -> str:
    """Refuse a name that no benchmark has."""
    if name not in catalogue.BENCHMARKS:
        known = ", ".join(catalogue.BENCHMARKS)
        raise argparse.ArgumentTypeError(f"there is no benchmark {name!r}, but {known}")
    return name


if __name__ == "__main__":
    main()
