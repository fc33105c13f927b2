"""Answers to the probes of an orchestrator, over HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from herdbook.live import LiveStatus, NotServing

_SILENT_SECONDS: Final = 5.0
"""How long a connection may say nothing."""


class HealthServer:
    """Answers `/livez` as long as the process runs, and `/readyz` with how things stand.

    `/readyz` answers 200 once a version is served and 503 before, with a JSON document.
    """

    def __init__(
        self, host: str, port: int, *, ready: Callable[[], bool], status: Callable[[], LiveStatus]
    ) -> None:
        """Listens, at any free port if `port` is 0.

        Args:
            host: Where; empty: on every interface.
            port: Where.
            ready: Tells whether a version is served.
            status: Tells more; may raise `NotServing` before there is more.

        Raises:
            OSError: The address cannot be listened at.
        """
        self._ready = ready
        self._status = status
        handler = type("Handler", (_Handler,), {"health": self})
        server = _ServerOfIPv6 if ":" in host else ThreadingHTTPServer
        self._server = server((host, port), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="herdbook-health", daemon=True
        )

    def answer(self, path: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """Returns what is answered to a request for a path."""
        if path == "/livez":
            return HTTPStatus.OK, {"live": True}
        if path == "/readyz":
            ready = self._ready()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return status, {"ready": ready} | self._details()
        return HTTPStatus.NOT_FOUND, {"error": "there are /livez and /readyz"}

    def _details(self) -> dict[str, Any]:
        try:
            status = self._status()
        except NotServing:
            return {}
        return {
            "reference": status.reference,
            "state": status.state,
            "version": status.serving.version if status.serving else None,
            "target": status.target.version if status.target else None,
            "failure": status.failure.reason if status.failure else None,
            "connected": status.connected,
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _ServerOfIPv6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    health: HealthServer
    timeout = _SILENT_SECONDS

    def do_GET(self) -> None:
        status, document = self.health.answer(self.path.partition("?")[0])
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds: nobody wants to read of them."""
