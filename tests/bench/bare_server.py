"""A server with nothing but the baselines: `python -m tests.bench.bare_server READY_FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
import uvloop

from tests.bench.baselines import handlers
from tests.support.ports import LOOPBACK


async def serve(ready_file: Path) -> None:
    """Serve until the process is ended."""
    # All that connect at once are let in.
    options = [
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    ready_file.write_text(f"{LOOPBACK}:{port}")
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
