"""The client for asyncio."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from herdbook.aio.aliases import AsyncAliasCalls
from herdbook.aio.artifacts import AsyncArtifactCalls
from herdbook.aio.fleet import AsyncFleetCalls
from herdbook.aio.models import AsyncModelCalls
from herdbook.aio.versions import AsyncVersionCalls
from herdbook.caching import chosen_cache
from herdbook.transfer import Transfers
from herdbook.transfer.chunk_cache import ChunkCache
from herdbook.transport.aio_caller import AioCaller
from herdbook.transport.caller import Caller
from herdbook.transport.connection import DEFAULT_TIMEOUT_SECONDS, TLS, Connection

__all__ = ["AsyncClient"]


class AsyncClient(
    AsyncModelCalls, AsyncVersionCalls, AsyncAliasCalls, AsyncArtifactCalls, AsyncFleetCalls
):
    """Talks to a Herdbook server from asyncio; may be used in any event loop.

    Holds one connection for each event loop, which is opened by the first call and kept. Calls that
    cannot take effect twice are repeated while the server is away, within the deadline. Transfers
    run on threads over a connection of their own, and never block the event loop.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        token: str | None = None,
        tls: TLS | bool | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        cache: ChunkCache | bool = True,
    ) -> None:
        """Makes the client; connects with the first call.

        Args:
            server: `HOST:PORT`; None for `HERDBOOK_SERVER`, then `localhost:7411`.
            token: What proves who calls; None for `HERDBOOK_TOKEN`, if set.
            tls: True for the authorities that this machine trusts, or files of one's own; None for
                `HERDBOOK_TLS`, `HERDBOOK_TLS_CA`, `HERDBOOK_CLIENT_CERT` and `HERDBOOK_CLIENT_KEY`.
            timeout_seconds: How long a call may take with its repetitions. Transfers and watches
                may take longer, and wait longer for a server that has gone away.
            cache: Where chunks of earlier pulls are found; True for the one of this machine, False
                for none.
        """
        connection = Connection.configured(
            server, token=token, tls=tls, timeout_seconds=timeout_seconds
        )
        self._caller = AioCaller(connection)
        self._threaded = Caller(connection, self._caller.contact)
        self._transfers = Transfers(self._threaded, cache=chosen_cache(cache))

    @property
    def server(self) -> str:
        """The server it talks to."""
        return self._caller.connection.target

    async def close(self) -> None:
        """Ends watches and transfers under way and closes the connection; may be called again."""
        await self._caller.close()
        self._threaded.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
