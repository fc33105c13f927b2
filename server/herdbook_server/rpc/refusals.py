"""The layer that turns errors into statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.rpc import status_pb2

from herdbook_server.errors import HerdbookError
from herdbook_server.rpc import calls, status
from herdbook_server.rpc.calls import Call

logger = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Refusals:
    """Answers domain errors with their status, and whatever else is raised with INTERNAL.

    What the domain did not foresee goes to the log with its traceback, and nothing of it to the
    caller. Cancellation passes through.
    """

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Translate what the call raises."""
        try:
            yield
        except asyncio.CancelledError:
            call.code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            call.code = _CODES.get(_number(call.context.code()), grpc.StatusCode.UNKNOWN)
            raise
        except HerdbookError as error:
            call.reason = type(error).reason
            await _refuse(call, status.status_of(error))
        except Exception:
            logger.exception("%s failed", call.method)
            call.reason = status.INTERNAL_REASON
            await _refuse(call, status.internal_status())


async def _refuse(call: Call, answer: status_pb2.Status) -> None:
    call.code = _CODES[answer.code]
    await call.context.abort(
        call.code,
        answer.message,
        (
            (status.DETAILS_KEY, answer.SerializeToString()),
            (calls.REQUEST_ID_KEY, call.request_id),
        ),
    )


def _number(code: grpc.StatusCode | int) -> int:
    """Return a status code as the number that it is on the wire."""
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else code
