"""Retries: a request id makes the second call return the first answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from herdbook_server.errors import RequestIdReused
from herdbook_server.ports.records import Records
from herdbook_server.ports.values import JSON, RequestRecord
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.rules import check_request_id, refuse


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be retried."""

    request_id: str | None
    """None: the caller does not retry, or accepts the consequences."""
    fingerprint: bytes

    async def first_answer(self, records: Records) -> JSON:
        """What was answered to this request before; None if it is new.

        Raises:
            RequestIdReused: The id belongs to another request.
        """
        if self.request_id is None:
            return None
        record = await records.requests.get(self.request_id)
        if record is None:
            return None
        if record.fingerprint != self.fingerprint:
            raise refuse(
                RequestIdReused,
                "request_id",
                "This id was used for a different request: make a new one for each request.",
            )
        return record.answer

    async def remember(self, records: Records, answer: JSON, *, time_us: int) -> None:
        """Keeps the answer for retries."""
        if self.request_id is not None:
            record = RequestRecord(self.request_id, self.fingerprint, answer, time_us)
            await records.requests.add(record)


def retriable(caller: Caller, method: str, *, request_id: str | None, asked: JSON) -> Request:
    """A request by its id and by what it asks.

    Raises:
        FieldInvalid: The id is no UUID.
    """
    text = json.dumps([caller.actor, method, asked], sort_keys=True, separators=(",", ":"))
    return Request(check_request_id(request_id), hashlib.sha256(text.encode()).digest())
