"""A TLS handshake with a new client, before its connection begins.

Until then it takes a place among the connections: one that may be taken away from it to make room, and for a limited
time, so that clients that never finish keep nobody out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from .connection_table import ConnectionTable
from .server_connection import ServerConnection

if TYPE_CHECKING:
    import ssl


class Handshake(asyncio.Protocol):
    """See the module. What the client sends right behind it is kept for the connection."""

    expendable = True
    streaming = False

    def __init__(self, table: ConnectionTable, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext) -> None:
        self._table = table
        self._loop = loop
        self._context = context
        self._since = loop.time()
        self._received = b""
        self._ended = False  # the client has
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Handshake for {self._loop.time() - self._since:.1f} s>"

    # --- asyncio's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._table.admit(self):
            self._transport.abort()
            return
        self._table.note(self)
        self._task = self._loop.create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        self._received += data

    def eof_received(self) -> bool:
        self._ended = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._table.leave(self)

    # --- the server's calls ---

    def check(self, now: float) -> None:
        """Called each second: enforce its time."""
        if now - self._since > self._table.limits.receive_seconds:
            self.abort()

    def go_away(self) -> None:
        """The server stops."""
        self.abort()

    def end_stream(self) -> None:
        """There is none."""

    def abort(self) -> None:
        """Close at once."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()
        self._table.leave(self)

    async def _shake_hands(self) -> None:
        try:
            secured = await self._loop.start_tls(self._transport, self, self._context, server_side=True)
        except OSError:  # as ssl.SSLError is: the client's affair
            secured = None
        finally:
            self._table.leave(self)
        if secured is None or self._ended:
            self._transport.abort()
            return
        connection = ServerConnection(self._table, self._loop)
        secured.set_protocol(connection)
        connection.connection_made(secured)
        if self._received:
            connection.data_received(self._received)
