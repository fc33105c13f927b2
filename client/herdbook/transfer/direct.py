"""Chunks of one transfer from and to S3, past the server; what does not come so, it carries."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing

from herdbook.core.operations.artifacts import confirm_uploads, sign_downloads, sign_uploads
from herdbook.core.values import ChunkRef
from herdbook.errors import Cancelled, HerdbookError
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.meter import Meter
from herdbook.transport.caller import Caller
from herdbook.transport.direct import LEAST_BYTES


def send_directly(
    caller: Caller, model: str, chunks: Mapping[bytes, bytes], *, meter: Meter, cancel: CancelToken
) -> frozenset[bytes]:
    """Sends large chunks to S3; returns the digests of those that the model has then.

    Raises:
        Cancelled: The transfer was given up.
    """
    large = {digest: data for digest, data in chunks.items() if len(data) >= LEAST_BYTES}
    direct = caller.direct()
    if not large or not direct.sending.is_left:
        return frozenset()
    sent: set[bytes] = set()
    arrived: frozenset[bytes] = frozenset()
    sizes = {digest: len(data) for digest, data in large.items()}
    try:
        signed = caller.call(sign_uploads(model, sizes), breaks_off=cancel.breaks_off)
        with closing(direct.send(signed.requests, large, cancel.breaks_off)) as taken:
            for digest in taken:
                meter.add(moved_bytes=sizes[digest])
                sent.add(digest)
        confirm = confirm_uploads(model, {each: sizes[each] for each in sent}, signed.proof)
        if sent:
            arrived = caller.call(confirm, breaks_off=cancel.breaks_off) & sent
        if arrived:
            direct.sending.succeeded()
        if len(arrived) < len(sent):
            direct.sending.rest("S3 took chunks that the server does not find there")
    except Cancelled:
        raise
    except HerdbookError as error:
        cancel.check()
        direct.sending.rest(str(error))
    # They are to be sent again.
    meter.add(moved_bytes=-sum(sizes[digest] for digest in sent - arrived))
    return arrived


def fetch_directly(
    caller: Caller, model: str, version: int, refs: Sequence[ChunkRef], *, cancel: CancelToken
) -> Generator[tuple[ChunkRef, bytes]]:
    """Yields the large ones among chunks that come from S3, verified, as they come.

    Raises:
        Cancelled: The transfer was given up.
    """
    large = [ref for ref in refs if ref.size_bytes >= LEAST_BYTES]
    direct = caller.direct()
    if not large or not direct.fetching.is_left:
        return
    try:
        sign = sign_downloads(model, version, [ref.sha256 for ref in large])
        signed = caller.call(sign, breaks_off=cancel.breaks_off)
    except HerdbookError as error:
        cancel.check()
        direct.fetching.rest(str(error))
        return
    requests = dict(zip(large, signed, strict=False))
    with closing(direct.fetch(requests, cancel.breaks_off)) as answers:
        for ref, data in answers:
            if len(data) != ref.size_bytes or hashlib.sha256(data).digest() != ref.sha256:
                direct.fetching.rest("S3 gave other bytes than the chunk's")
            else:
                direct.fetching.succeeded()
                yield ref, data
