"""What is known of the call that is being answered."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc

REQUEST_ID_KEY = "herdbook-request-id"

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_REQUEST_ID_MAX_CHARACTERS = 128


@dataclass(slots=True)
class Call:
    """One call, from the first layer around it to the last."""

    method: str
    """Full name, such as `/herdbook.v1.ModelService/GetModel`."""
    context: Context
    metadata: dict[str, str]
    """What came with the call, binary values left out; the last value of a key counts."""
    request_id: str
    actor: str = ""
    """Who calls; known once authentication is through."""
    check_caller: Callable[[], None] = field(default=lambda: None)
    """Refuses the call when who calls may no longer do so, for calls that go on for long."""
    code: grpc.StatusCode = grpc.StatusCode.OK
    """How the call ended."""
    reason: str = ""
    """The reason of the error that it ended with."""
    received_bytes: int = 0
    sent_bytes: int = 0
    until_answered: AsyncExitStack | None = None
    """What is held up to the first message that goes out."""

    async def write(self, data: bytes) -> None:
        """Send a message of a stream.

        A write fails when the caller goes away meanwhile, which the context may not know yet.
        """
        if self.until_answered is not None:
            held, self.until_answered = self.until_answered, None
            await held.aclose()
        self.sent_bytes += len(data)
        try:
            await self.context.write(data)
        except grpc.aio.InternalError as error:
            raise asyncio.CancelledError from error


_current: ContextVar[Call] = ContextVar("herdbook_call")


def begin(method: str, context: Context) -> Call:
    """Make the call that starts now the current one of this task."""
    metadata = _text_metadata(context)
    request_id = metadata.get(REQUEST_ID_KEY, "")[:_REQUEST_ID_MAX_CHARACTERS]
    call = Call(method, context, metadata, request_id or str(uuid.uuid4()))
    _current.set(call)
    return call


def current() -> Call:
    """Return the call that this task answers."""
    return _current.get()


def request_id() -> str:
    """Return the id of the call that this task answers; empty outside of any."""
    call = _current.get(None)
    return call.request_id if call else ""


def _text_metadata(context: Context) -> dict[str, str]:
    pairs = context.invocation_metadata() or ()
    return {key: value for key, value in pairs if isinstance(value, str)}
