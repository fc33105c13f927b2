"""A Herdbook server that also has the baselines: `python -m tests.bench.full_server serve …`.

They run behind the interceptors and on the event loop of everything else in it.
"""

from __future__ import annotations

from typing import Any

import grpc

from herdbook_server.cli import main
from tests.bench.baselines import handlers

make_server = grpc.aio.server


def server_with_baselines(*arguments: Any, **options: Any) -> grpc.aio.Server:
    """Make the server that is asked for, with one more service."""
    server = make_server(*arguments, **options)
    server.add_generic_rpc_handlers((handlers(),))
    return server


if __name__ == "__main__":
    grpc.aio.server = server_with_baselines
    main()
