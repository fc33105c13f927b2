"""The `herdbook` command; its modules need the extra `herdbook[cli]`, this one does not."""

from __future__ import annotations

import importlib.util
import os
import sys

_NEEDED = ("rich", "typer")
_INTERRUPTED = 130


def main() -> None:
    """Runs the `herdbook` command and exits with its code."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"The herdbook command needs {' and '.join(missing)}: pip install 'herdbook[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    # What gRPC's core writes to stderr by itself helps nobody, and breaks a log in JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from herdbook.cli.app import run

        run()
    except KeyboardInterrupt:
        # Before there was a command that could tell more.
        sys.exit(_INTERRUPTED)
