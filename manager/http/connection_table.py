"""The connections of a server, and what they share: what is served, their limits, and who makes room for a new one.

A new connection takes the place of the one that has been idle longest; where all are at work it is turned away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from miniwsgi.daemon.http.head import Known, Limits
from miniwsgi.daemon.http.response import Encodings, ServerFields

from .exchange import Served


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


class OpenConnection(Protocol):
    """A connection, as its server uses it."""

    @property
    def expendable(self) -> bool:
        """Whether it may be closed to make room: it waits for its client."""

    @property
    def streaming(self) -> bool:
        """Whether it carries an answer without an end."""

    def check(self, now: float) -> None:
        """Called each second: enforce times."""

    def go_away(self) -> None:
        """The server stops: close if nothing is under way."""

    def end_stream(self) -> None:
        """The server stops: end a stream that has not ended by itself."""

    def abort(self) -> None:
        """Close at once, whatever is unsent."""


class ConnectionTable:
    """See the module. `on_error` gets what went wrong inside, a line."""

    def __init__(
        self, served: Served, on_error: Callable[[str, BaseException | None], None], limits: ServerLimits
    ) -> None:
        self.served = served
        self.on_error = on_error
        self.limits = limits
        self.server_fields = ServerFields("miniwsgi")
        self.encodings = Encodings()
        self.known = Known()
        self.stopping = False
        self._members: set[OpenConnection] = set()
        self._expendable: dict[OpenConnection, None] = {}  # by how long nothing has happened, the longest first
        self._empty = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ConnectionTable connections={len(self)} streams={self.streams}>"

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[OpenConnection]:
        """All there are now; they may end meanwhile."""
        return iter(list(self._members))

    @property
    def streams(self) -> int:
        """How many connections carry a stream."""
        return sum(member.streaming for member in self._members)

    async def until_empty(self, seconds: float) -> None:
        """Until all have ended, or so long."""
        if self._members:
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                pass

    # --- called by connections ---

    def admit(self, connection: OpenConnection) -> bool:
        """Take a new connection in; False: all places are taken by connections at work."""
        if len(self._members) >= self.limits.connections:
            oldest = next(iter(self._expendable), None)
            if oldest is None:
                return False
            oldest.abort()
        self._members.add(connection)
        self._empty.clear()
        return True

    def note(self, connection: OpenConnection) -> None:
        """Something has happened on a connection."""
        self._expendable.pop(connection, None)
        if connection.expendable and connection in self._members:
            self._expendable[connection] = None

    def leave(self, connection: OpenConnection) -> None:
        """A connection has ended."""
        self._members.discard(connection)
        self._expendable.pop(connection, None)
        if not self._members:
            self._empty.set()
