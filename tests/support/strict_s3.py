"""An S3 endpoint in front of another that verifies what moto's does not: signed requests.

Only as far as herdbook's server signs them: Signature Version 4 in the query, bodies unsigned, a
SHA-256 among the headers. See "Authenticating Requests: Using Query Parameters" in the reference
of Amazon S3.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Flag, auto
from functools import reduce
from urllib.parse import parse_qsl, quote, urlsplit

from tests.support.http_front import Request, forward, http_front


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

    def answer(request: Request, body: bytes) -> None:
        refusal = refusal_of(request, body, secret_access_key) & ~overlooks
        if refusal:
            request.send_error(403, str(refusal))
        else:
            forward(request, body, endpoint_url, headers=reminder(request))

    with http_front(answer) as url:
        yield url


def reminder(request: Request) -> dict[str, str]:
    """Return what moto forgets a checksum without."""
    names = map(str.lower, request.headers)
    return {"x-amz-sdk-checksum-algorithm": "SHA256"} if "x-amz-checksum-sha256" in names else {}


def refusal_of(request: Request, body: bytes, secret: str) -> Refusal:
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
    request: Request,
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
