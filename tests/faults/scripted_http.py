"""An HTTP server that misbehaves as it is told, in place of an S3 endpoint."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reads_body: bool = True
    """Whether the request's body is taken off the connection at all."""

    is_sent: bool = True
    """False to say nothing more on this connection, for as long as the server lives."""

    size: bool = True
    """Whether to say how long the body is."""

    closes: bool = False
    """Whether to close the connection afterwards, without having said so."""

    stalls: bool = False
    """Whether to say nothing more, rather than to close, once the answer is cut short."""

    cut_to_bytes: int | None = None
    """Send so many bytes of the body, then close; 0 to close without a word."""


def error(status: int, code: str, **headers: str) -> Answer:
    """Refuse in the way of S3."""
    body = f"<Error><Code>{code}</Code><Message>because</Message></Error>".encode()
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


STALL = Answer(is_sent=False)
STALL_BEFORE_BODY = Answer(is_sent=False, reads_body=False)
RESET = Answer(cut_to_bytes=0)


@dataclass(slots=True)
class ScriptedServer:
    """Answers requests by a script, one after the other, the last answer for ever."""

    script: list[Answer] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """The first line and the headers of every request so far."""

    url: str = ""
    connections: int = 0
    """How many were made so far."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if answer.reads_body:
            await reader.readexactly(content_length(head))
        if not answer.is_sent:
            await asyncio.Event().wait()
        if answer.cut_to_bytes == 0:
            writer.transport.abort()
            return False
        lines = [f"HTTP/1.1 {answer.status} X"]
        lines += [f"Content-Length: {len(answer.body)}"] if answer.size else []
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body[: answer.cut_to_bytes])
        await writer.drain()
        if answer.stalls:
            await asyncio.Event().wait()
        return answer.cut_to_bytes is None and not answer.closes


def content_length(head: str) -> int:
    """Return how long a request's body is."""
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


@contextlib.asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Run a server until the block ends, when its connections end with it."""
    scripted = ScriptedServer()
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(scripted.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    scripted.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
