"""What the S3 driver raises, translated into the errors of the `ChunkStore` port."""

from __future__ import annotations

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from herdbook_server.ports.chunks import (
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)

BODY_ERRORS = (
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    aiohttp.ClientError,
    ConnectionError,
)
"""Raised when a connection breaks in the middle of an object."""

DRIVER_ERRORS = (
    ClientError,
    BotoCoreError,
    ResponseParserError,
    aiohttp.ClientError,
    OSError,
)
"""Everything the driver raises; `TimeoutError` is an `OSError`."""

# Credentials that a metadata service hands out may come a moment later.
_UNREACHABLE = (
    *BODY_ERRORS,
    BotoConnectionError,
    CredentialRetrievalError,
    ResponseParserError,
    OSError,
)
_FULL = frozenset({"InsufficientCapacity", "QuotaExceeded", "XMinioStorageFull"})
_RETRYABLE = frozenset(
    {
        # The bytes changed on their way, as the checksum shows.
        "BadDigest",
        "IncompleteBody",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        # Answered with status 400 by some stores.
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
    }
)
_INSUFFICIENT_STORAGE = 507
_OVERLOADED = frozenset({429, 500, 502, 503, 504})


def store_error(sentence: str, error: Exception) -> StoreError:
    """Return the port's error for one of `DRIVER_ERRORS`.

    Args:
        sentence: What could not be done and where, without a full stop.
        error: What the driver raised.
    """
    if isinstance(error, ClientError):
        return _answered(sentence, error)
    if isinstance(error, _UNREACHABLE):
        return StoreUnavailable(f"{sentence}: {str(error) or type(error).__name__}")
    return StoreMisconfigured(f"{sentence}: {error}")


def refused(sentence: str, code: str, reason: str) -> StoreError:
    """Return the port's error for an error code that came inside a successful answer."""
    return _for_code(f"{sentence}: {code}: {reason}", code, status=0, retry_after_seconds=None)


def is_missing_object(error: ClientError) -> bool:
    """Whether the bucket answered that it holds no such object.

    A bare status 404 may be that of whatever stands before it.
    """
    return str(error.response.get("Error", {}).get("Code")) == "NoSuchKey"


def is_missing_head(error: ClientError) -> bool:
    """Tell the same of an answer to HEAD, which has no body to say more."""
    return str(error.response.get("Error", {}).get("Code")) in {"NoSuchKey", "404"}


def _answered(sentence: str, error: ClientError) -> StoreError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    metadata = error.response.get("ResponseMetadata", {})
    headers = metadata.get("HTTPHeaders", {})
    return _for_code(
        f"{sentence}: {error}",
        code,
        status=metadata.get("HTTPStatusCode", 0),
        retry_after_seconds=_seconds(headers.get("retry-after")),
    )


def _for_code(
    message: str, code: str, *, status: int, retry_after_seconds: float | None
) -> StoreError:
    if code in _FULL or status == _INSUFFICIENT_STORAGE:
        return StoreFull(message)
    if code in _RETRYABLE or status in _OVERLOADED:
        return StoreUnavailable(message, retry_after_seconds=retry_after_seconds)
    return StoreMisconfigured(message)


def _seconds(header: str | None) -> float | None:
    """Read a Retry-After header, of which only the form in seconds is worth keeping."""
    return float(header) if header is not None and header.isdecimal() else None
