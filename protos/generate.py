#!/usr/bin/env python3
"""Generate the Python stubs of the contract in client/herdbook/v1, or check that they are current.

The generator is the oldest one whose output we support: generated code refuses a runtime that is
older than its generator, so this pin and the lower bounds in pyproject.toml move together.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TOOLS = ("grpcio-tools==1.76.0", "mypy-protobuf==5.1.0")
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
STUBS = ROOT / "client" / "herdbook" / "v1"
PACKAGE = Path("herdbook", "v1")
DIFF_LINES_SHOWN = 20


def main() -> int:
    """Generate the stubs; with --check, change nothing and return 1 if they are not current."""
    parser = argparse.ArgumentParser(description="Generate the Python stubs from protos/.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wanted = generated_stubs(Path(scratch))
    present = checked_in_stubs()
    if arguments.check:
        return report_differences(wanted, present)
    write(wanted, present)
    return 0


def generated_stubs(scratch: Path) -> dict[str, str]:
    """Run protoc into `scratch` and return the text of each stub by file name."""
    sources = sorted((PROTOS / PACKAGE).glob("*.proto"))
    if not sources:
        sys.exit(f"no .proto files in {PROTOS / PACKAGE}")
    services = [source for source in sources if declares_a_service(source)]
    run_protoc(sources, ["--python_out=", "--mypy_out=quiet:"], scratch)
    run_protoc(services, ["--grpc_python_out=", "--mypy_grpc_out=quiet:"], scratch)
    return {path.name: path.read_text() for path in (scratch / PACKAGE).iterdir()}


def declares_a_service(source: Path) -> bool:
    """Tell whether there is anything for the gRPC plugins to generate from `source`."""
    return re.search(r"^service\s+\w+", source.read_text(), re.MULTILINE) is not None


def run_protoc(sources: list[Path], outputs: list[str], scratch: Path) -> None:
    """Compile `sources` with each of the output options into `scratch`."""
    if not sources:
        return
    tools = tools_environment()
    command = [str(tools / "python"), "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"]
    command += [f"--plugin={name}={tools / name}" for name in PLUGINS]
    command += [f"{option}{scratch}" for option in outputs]
    subprocess.run([*command, *map(str, sources)], check=True)


def tools_environment() -> Path:
    """Return the directory of executables that has the pinned tools; make it if need be."""
    key = hashlib.sha256("\n".join((sys.version, *TOOLS)).encode()).hexdigest()[:12]
    home = ROOT / ".cache" / f"protoc-{key}"
    executables = home / ("Scripts" if os.name == "nt" else "bin")
    ready = home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        subprocess.run(
            [executables / "python", "-m", "pip", "install", "--quiet", *TOOLS], check=True
        )
        ready.touch()
    return executables


def checked_in_stubs() -> dict[str, str]:
    """Return the text of each stub that is there now, by file name."""
    return {path.name: path.read_text() for path in STUBS.glob("*_pb2*.py*") if path.is_file()}


def report_differences(wanted: dict[str, str], present: dict[str, str]) -> int:
    """Print how the stubs differ from what the contract generates; return the exit code."""
    differing = sorted(
        name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)
    )
    for name in differing:
        before, after = present.get(name, ""), wanted.get(name, "")
        lines = list(
            difflib.unified_diff(
                before.splitlines(), after.splitlines(), name, name, n=0, lineterm=""
            )
        )
        print("\n".join(lines[:DIFF_LINES_SHOWN]))
        if len(lines) > DIFF_LINES_SHOWN:
            print(f"... {len(lines) - DIFF_LINES_SHOWN} more lines")
    if differing:
        print(
            f"{len(differing)} stubs are not what protos/ generates: run `make protos`",
            file=sys.stderr,
        )
    return 1 if differing else 0


def write(wanted: dict[str, str], present: dict[str, str]) -> None:
    """Make the checked-in stubs equal to `wanted`."""
    STUBS.mkdir(parents=True, exist_ok=True)
    for name in present.keys() - wanted.keys():
        (STUBS / name).unlink()
    for name, text in wanted.items():
        if present.get(name) != text:
            (STUBS / name).write_text(text, newline="\n")


if __name__ == "__main__":
    sys.exit(main())
