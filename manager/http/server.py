"""The master's own small HTTP server, on asyncio: for the control socket and for metrics and health on TCP.

Parsing and framing are `daemon.http`'s; what is served is a `Served`. It must never hold the master, so everything
is bounded: sizes, the number of connections (a new one takes the place of the one that has been idle longest), the
time to send a request and to take an answer. Streams are pulled only while their client reads.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from miniwsgi.daemon.http.head import Limits
from miniwsgi.daemon.http.response import ServerFields

from .exchange import Served
from .server_connection import ConnectionState, ServerConnection

SWEEP_SECONDS = 1.0
ACCEPTS_A_TURN = 16
LAST_CHUNKS_SECONDS = 0.25  # at the end, for streams to say what is left to say


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What clients may take. Durations are seconds."""

    http: Limits = field(
        default_factory=lambda: Limits(
            request_line_bytes=4096, field_bytes=8192, fields=64, fields_bytes=16384, body_max_bytes=1 << 20
        )
    )
    connections: int = 512
    streams: int = 256  # of these connections
    backlog: int = 1024
    receive_seconds: float = 10.0  # from a request's first byte to its last
    idle_seconds: float = 60.0  # between requests, and before the first one
    send_seconds: float = 10.0  # without the client taking a byte of an answer
    unread_seconds: float = 60.0  # of a stream: a pager may hold it for a while
    linger_seconds: float = 2.0  # for a client to read why it was refused
    pipelined_bytes: int = 65536  # that are read ahead while a request is answered


class HttpServer:
    """Serves `served` on the sockets given to `start`, until `stop`. `on_error` gets what went wrong inside, a line."""

    def __init__(
        self,
        served: Served,
        on_error: Callable[[str, BaseException | None], None],
        limits: ServerLimits | None = None,
    ) -> None:
        self.served = served
        self.on_error = on_error
        self.limits = limits or ServerLimits()
        self.server_fields = ServerFields("miniwsgi")
        self.connections: set[ServerConnection] = set()
        self._expendable: dict[ServerConnection, None] = {}  # by how long nothing has happened, the longest first
        self.stopping = False
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    def __repr__(self) -> str:
        return f"<HttpServer connections={len(self.connections)} streams={self.streams}>"

    @property
    def streams(self) -> int:
        """How many connections carry a stream."""
        return sum(connection.state is ConnectionState.STREAMING for connection in self.connections)

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve on listening sockets, which then belong to the server; no more on earlier ones. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._close_listeners()
        for sock in sockets:
            # asyncio accepts as many at a time as its backlog says: the loop has other things to do, too.
            server = await loop.create_server(lambda: ServerConnection(self, loop), sock=sock, backlog=ACCEPTS_A_TURN)
            sock.listen(self.limits.backlog)
            self._servers.append(server)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    async def stop(self, seconds: float) -> None:
        """Accept no more, close idle connections, give answers under way and streams that end so long; close all."""
        self.stopping = True
        self._close_listeners()
        for connection in list(self.connections):
            connection.go_away()
        await self._until_empty(min(seconds, LAST_CHUNKS_SECONDS))
        for connection in list(self.connections):
            connection.end_stream()
        await self._until_empty(seconds)
        for connection in list(self.connections):
            connection.abort()

    def _close_listeners(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _until_empty(self, seconds: float) -> None:
        if self.connections:
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                pass

    # --- called by connections ---

    def admit(self, connection: ServerConnection) -> bool:
        """Take a new connection in; False: all places are taken by connections at work."""
        if len(self.connections) >= self.limits.connections:
            oldest = next(iter(self._expendable), None)
            if oldest is None:
                return False
            oldest.abort()
        self.connections.add(connection)
        self._empty.clear()
        return True

    def note(self, connection: ServerConnection) -> None:
        """Something has happened on a connection."""
        self._expendable.pop(connection, None)
        if connection.expendable and connection in self.connections:
            self._expendable[connection] = None

    def leave(self, connection: ServerConnection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        self._expendable.pop(connection, None)
        if not self.connections:
            self._empty.set()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        self.server_fields.refresh()
        now = loop.time()
        for connection in list(self.connections):
            connection.check(now)
