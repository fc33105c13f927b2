"""An S3 endpoint in front of another that verifies what moto's does not: signed requests.

Only as far as herdbook's server signs them: Signature Version 4 in the query, bodies unsigned, a
SHA-256 among the headers. See "Authenticating Requests: Using Query Parameters" in the reference
of Amazon S3.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Flag, auto
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlsplit

from tests.support.ports import LOOPBACK

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Refusal(Flag):
    """Why a request is refused."""

    HEADERS = auto()
    """Some were not signed."""

    SIGNATURE = auto()
    CHECKSUM = auto()


NOTHING = Refusal(0)


@contextmanager
def strict_s3(
    endpoint_url: str, secret_access_key: str, *, overlooks: Refusal = NOTHING
) -> Iterator[str]:
    """Run an endpoint in front of `endpoint_url` until the block ends; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            refusal = refusal_of(self, body, secret_access_key) & ~overlooks
            if refusal:
                self.send_error(403, str(refusal))
            else:
                forward(self, body, endpoint_url)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - as http.server has it

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()


def refusal_of(request: BaseHTTPRequestHandler, body: bytes, secret: str) -> Refusal:
    """Tell what is wrong with a request that is signed in its query."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))
    if "X-Amz-Signature" not in query:
        return NOTHING
    refusal = NOTHING
    signed = query["X-Amz-SignedHeaders"].split(";")
    if any(name.startswith("x-amz-") and name not in signed for name in headers):
        refusal |= Refusal.HEADERS
    if query.pop("X-Amz-Signature") != signature(request, query, headers, secret):
        refusal |= Refusal.SIGNATURE
    checksum = headers.get("x-amz-checksum-sha256")
    if checksum not in (None, base64.b64encode(hashlib.sha256(body).digest()).decode()):
        refusal |= Refusal.CHECKSUM
    return refusal


def signature(
    request: BaseHTTPRequestHandler,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    secret: str,
) -> str:
    """Return the signature that a request should have."""
    names = query["X-Amz-SignedHeaders"].split(";")
    canonical = "\n".join(
        [
            request.command,
            urlsplit(request.path).path,
            "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(query.items())),
            *(f"{name}:{headers.get(name, '').strip()}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        ]
    )
    scope = query["X-Amz-Credential"].partition("/")[2]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, digest])
    key = reduce(_hmac, scope.split("/"), f"AWS4{secret}".encode())
    return _hmac(key, text).hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def forward(request: BaseHTTPRequestHandler, body: bytes, endpoint_url: str) -> None:
    """Make a request at the endpoint behind, and answer as it does."""
    connection = http.client.HTTPConnection(urlsplit(endpoint_url).netloc, timeout=30)
    headers = dict(request.headers)
    if any(name.lower() == "x-amz-checksum-sha256" for name in headers):
        # Without it moto forgets the checksum.
        headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
    connection.request(request.command, request.path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    request.send_response(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in HOP_BY_HOP:
            request.send_header(name, value)
    length = answer.getheader("Content-Length") if request.command == "HEAD" else str(len(data))
    request.send_header("Content-Length", length or "0")
    request.end_headers()
    request.wfile.write(data)
    connection.close()
