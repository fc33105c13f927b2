"""An HTTP server in front of another, which decides what becomes of each request."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias
from urllib.parse import urlsplit

from tests.support.ports import LOOPBACK

Request: TypeAlias = BaseHTTPRequestHandler

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
SECONDS = 60


@contextmanager
def http_front(answer: Callable[[Request, bytes], None]) -> Iterator[str]:
    """Run it until the block ends; yields its address.

    Args:
        answer: Answers a request, whose body it is given; may run in many threads.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def take(self) -> None:
            answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = take  # noqa: N815 - as http.server has it

        def log_message(self, *_: object) -> None: ...

    with Server((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()


class Server(ThreadingHTTPServer):
    """Has as many threads as clients have connections, and is silent when those break."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None: ...


def forward(
    request: Request,
    body: bytes,
    endpoint_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    cut: bool = False,
) -> None:
    """Make a request at the endpoint behind, and answer as it does, or break off half way."""
    netloc = urlsplit(endpoint_url).netloc
    with closing(http.client.HTTPConnection(netloc, timeout=SECONDS)) as connection:
        sent = {**dict(request.headers), **(headers or {})}
        connection.request(request.command, request.path, body, sent)
        answer = connection.getresponse()
        data = answer.read()
    if cut and not data:
        return
    request.send_response(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in HOP_BY_HOP:
            request.send_header(name, value)
    length = answer.getheader("Content-Length") if request.command == "HEAD" else str(len(data))
    request.send_header("Content-Length", length or "0")
    request.end_headers()
    request.wfile.write(data[: len(data) // 2] if cut else data)
