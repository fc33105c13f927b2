"""Wait until a server says that it is healthy: await_server.py HOST:PORT SECONDS PID."""

from __future__ import annotations

import os
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

POLL_SECONDS = 0.1


def main(server: str, deadline_seconds: float, pid: int) -> int:
    """Return 0 once the server serves; 1 if its process ends before or the time is over."""
    give_up_at = time.monotonic() + deadline_seconds
    while time.monotonic() < give_up_at:
        if not is_running(pid):
            print(f"the server at {server} ended before it served", file=sys.stderr)
            return 1
        if is_serving(server):
            return 0
        time.sleep(POLL_SECONDS)
    print(f"the server at {server} did not serve within {deadline_seconds:g} s", file=sys.stderr)
    return 1


def is_running(pid: int) -> bool:
    """Tell whether there is a process `pid`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_serving(server: str) -> bool:
    """Ask the server's health service."""
    with grpc.insecure_channel(server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
