"""The master's own small HTTP server, on asyncio: for the control socket and for metrics and health on TCP.

Parsing and framing are `daemon.http`'s; what is served is a `Served`. It must never hold the master, so everything
is bounded: sizes, the number of connections, the time to send a request and to take an answer. Streams are pulled only
while their client reads.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .connection_table import ConnectionTable, ServerLimits
from .exchange import Served
from .handshake import Handshake
from .server_connection import ServerConnection

if TYPE_CHECKING:
    import ssl

SWEEP_SECONDS = 1.0
ACCEPTS_A_TURN = 16
LAST_CHUNKS_SECONDS = 0.25  # at the end, for streams to say what is left to say


class HttpServer:
    """Serves `served` on the sockets given to `start`, until `stop`. `on_error` gets what went wrong inside, a line."""

    def __init__(
        self,
        served: Served,
        on_error: Callable[[str, BaseException | None], None],
        limits: ServerLimits | None = None,
    ) -> None:
        self.connections = ConnectionTable(served, on_error, limits or ServerLimits())
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<HttpServer {self.connections}>"

    async def start(
        self, sockets: Sequence[socket.socket], context: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        """Serve on listening sockets, which then belong to the server; no more on earlier ones. Raises OSError.

        `context` is asked for each client's handshake, if TLS is spoken. asyncio has to have been imported with ssl.
        """
        loop, table = asyncio.get_running_loop(), self.connections
        self._close_listeners()

        def accept() -> asyncio.Protocol:
            return ServerConnection(table, loop) if context is None else Handshake(table, loop, context())

        for sock in sockets:
            # asyncio accepts as many at a time as its backlog says: the loop has other things to do, too.
            server = await loop.create_server(accept, sock=sock, backlog=ACCEPTS_A_TURN)
            sock.listen(table.limits.backlog)
            self._servers.append(server)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    async def stop(self, seconds: float) -> None:
        """Accept no more, close idle connections, give answers under way and streams that end so long; close all."""
        self.connections.stopping = True
        self._close_listeners()
        for connection in self.connections:
            connection.go_away()
        await self.connections.until_empty(min(seconds, LAST_CHUNKS_SECONDS))
        for connection in self.connections:
            connection.end_stream()
        await self.connections.until_empty(seconds)
        for connection in self.connections:
            connection.abort()

    def _close_listeners(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        self.connections.server_fields.refresh()
        now = loop.time()
        for connection in self.connections:
            connection.check(now)
