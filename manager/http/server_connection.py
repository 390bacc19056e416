"""One client's connection to the master's server: bytes in, answers out, on asyncio's transport.

Requests are answered one after another, each by a task of its own, which a client that goes away cancels. While one
runs, what the client sends further is read ahead up to a bound, so that its leaving is noticed. After an error the
connection lingers: a client that still sends its request must be able to read why it was refused.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from enum import Enum
from typing import cast

from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.response import CONTINUE, LAST_CHUNK, Encoded, frame

from .connection_table import ConnectionTable
from .exchange import Answer, Ends, HttpRefusal, PeerCredentials, Request, Stream, reason
from .socket_ends import ends_of, peer_of

STREAM_BUFFER_BYTES = 16384  # unsent: more, and the stream is not pulled


class ConnectionState(Enum):
    IDLE = "idle"  # nothing of a request is here
    RECEIVING = "receiving"
    ANSWERING = "answering"
    STREAMING = "streaming"
    LINGERING = "lingering"  # answered for the last time; what still comes is dropped
    CLOSED = "closed"


# No answer is under way.
UNENGAGED = frozenset((ConnectionState.IDLE, ConnectionState.RECEIVING, ConnectionState.LINGERING))
MAX_LINGERING_BYTES = 16 * 1024 * 1024  # more, and it is not somebody who only finishes sending


class ServerConnection(asyncio.Protocol):
    """See the module."""

    def __init__(self, table: ConnectionTable, loop: asyncio.AbstractEventLoop) -> None:
        self._table = table
        self.state = ConnectionState.CLOSED
        self._loop = loop
        self._http = Connection(table.limits.http, table.limits.http.body_max_bytes, known=table.known)
        self._transport: asyncio.Transport
        self._peer: PeerCredentials | None = None
        self._ends: Ends | None = None
        self._task: asyncio.Task[None] | None = None
        self._admission: asyncio.Task[None] | None = None  # while it is asked whether the request's body may come
        self._admitted = False  # it may
        self._since = loop.time()  # when the state began
        self._room: asyncio.Future[None] | None = None  # while the client does not read
        self._stuck_since: float | None = None
        self._ended = False  # the client sends no more
        self._dropped = 0  # bytes, while lingering

    def __repr__(self) -> str:
        return f"<ServerConnection {self.state.value} {self._peer}>"

    @property
    def expendable(self) -> bool:
        """Whether it may be closed to make room: it waits for its client."""
        return self.state in UNENGAGED or (self.state is ConnectionState.ANSWERING and self._stuck_since is not None)

    @property
    def streaming(self) -> bool:
        """Whether it carries an answer without an end."""
        return self.state is ConnectionState.STREAMING

    # --- asyncio's calls, in the order of a connection's life ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock: socket.socket = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            self._peer = peer_of(sock)
            self._http.limits = self._http.limits._replace(host_is_path=True)
        elif sock.family in {socket.AF_INET, socket.AF_INET6}:
            self._ends = ends_of(sock)
        admitted = self._table.admit(self)
        self._become(ConnectionState.IDLE)
        if not admitted:
            self._refuse(HttpRefusal(503, "too many connections; try again", fields=(("Retry-After", "1"),)))
            self._linger()
            self._loop.call_later(self._table.limits.linger_seconds, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self.state is ConnectionState.LINGERING:
            self._dropped += len(data)
            if self._dropped > MAX_LINGERING_BYTES:
                self.abort()
        if self.state in {ConnectionState.LINGERING, ConnectionState.CLOSED}:
            return
        self._table.note(self)
        try:
            complete = self._http.receive(data)
        except ProtocolError as error:
            self._refuse(HttpRefusal(error.status, error.detail))
            self._linger()
            return
        if self.state in {ConnectionState.ANSWERING, ConnectionState.STREAMING}:
            if len(self._http.pending) > self._table.limits.pipelined_bytes:
                self._transport.pause_reading()
        elif complete:
            self._become(ConnectionState.ANSWERING)
            self._task = self._loop.create_task(self._answer_all())
        else:
            self._wait_for_more()

    def _parse_on_later(self) -> None:
        """Parsing has stopped for others' sake: go on in the loop's next turn, and receive nothing before."""
        if self._http.unparsed:
            self._transport.pause_reading()
            self._loop.call_soon(self._parse_on)

    def _parse_on(self) -> None:
        if self._http.unparsed:  # it may have been closed meanwhile
            self._transport.resume_reading()
            self.data_received(b"")

    def eof_received(self) -> bool:
        self._ended = True
        if self.state is ConnectionState.ANSWERING and not self._hung_up():
            return self._transport.can_write_eof()  # it only sends no more: it is answered. TLS knows no such half
        if self.state is ConnectionState.RECEIVING:
            self._refuse(HttpRefusal(400, "the request ends before its end"))
        return False

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()
        self._stuck_since = self._loop.time()
        self._table.note(self)

    def resume_writing(self) -> None:
        self._stuck_since = None
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
        self._table.note(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._become(ConnectionState.CLOSED)
        self._http.close()
        if self._room is not None:
            self._room.cancel()
        for task in (self._task, self._admission):
            if task is not None:
                task.cancel()
        self._table.leave(self)

    # --- the server's calls ---

    def check(self, now: float) -> None:
        """Called each second: enforce times."""
        limits = self._table.limits
        if self.state is ConnectionState.RECEIVING and now - self._since > limits.receive_seconds:
            self._refuse(HttpRefusal(408, f"the request was not complete within {limits.receive_seconds:g} s"))
            self._linger()
        elif self.state is ConnectionState.ANSWERING:
            if self._stuck_since is not None and now - self._stuck_since > limits.send_seconds:
                self.abort()
        elif self.state is ConnectionState.STREAMING:
            if self._stuck_since is not None and now - self._stuck_since > limits.unread_seconds:
                self.abort()
        elif self.state in {ConnectionState.IDLE, ConnectionState.LINGERING}:
            unsent = self._transport.get_write_buffer_size()
            allowed = limits.idle_seconds if self.state is ConnectionState.IDLE else limits.linger_seconds
            if now - self._since > (limits.send_seconds if unsent else allowed):
                self.abort()

    def go_away(self) -> None:
        """The server stops: close if nothing is under way."""
        if self.state in UNENGAGED and self.state is not ConnectionState.LINGERING:
            self._transport.close()

    def end_stream(self) -> None:
        """The server stops: end a stream that has not ended by itself."""
        if self.state is ConnectionState.STREAMING and self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._transport.abort()
        self.connection_lost(None)

    # --- answering ---

    async def _answer_all(self) -> None:
        """Answer the request that is complete, and those that had been sent after it."""
        try:
            while True:
                persistent = await self._answer()
                if self._room is not None:
                    await self._room
                if not self._http.finish(persistent):
                    self._linger()
                    return
                self._transport.resume_reading()
                self._admitted = False
                if not self._http.advance():
                    self._wait_for_more()
                    return
        except ProtocolError as error:
            self._refuse(HttpRefusal(error.status, error.detail))
            self._linger()
        except asyncio.CancelledError:
            if self.state is not ConnectionState.CLOSED:
                self._transport.close()  # the server stops
        except Exception as error:
            self._table.on_error("a connection failed", error)
            self.abort()
        finally:
            self._task = None

    async def _answer(self) -> bool:
        """One answer; whether the connection goes on."""
        line, head = self._http.line, self._http.head
        assert line is not None
        assert head is not None
        body = self._http.body
        received = body.file().read() if body is not None else b""
        request = Request(line.method, line.path, line.query, head.fields, received, self._peer, self._ends)
        served = self._table.served
        try:
            answer = await served.respond(request)
        except HttpRefusal as refusal:
            answer = served.refuse(refusal, line.path)
        except Exception as error:
            self._table.on_error(f"{line.method} {line.path} failed", error)
            answer = served.refuse(HttpRefusal(500, "see the daemon's error log"), line.path)
        if isinstance(answer, Stream):
            if self._table.streams < self._table.limits.streams and not self._table.stopping:
                return await self._send_stream(answer, line.method, line.http11)
            answer = served.refuse(HttpRefusal(503, "too many streams; try again", fields=(("Retry-After", "1"),)), "")
        persistent = head.persistent and not answer.close and not self._table.stopping and not self._ended
        return self._send(answer, line.method, line.http11, persistent)

    def _send(self, answer: Answer, method: str, http11: bool, persistent: bool) -> bool:
        encoded = Encoded(f"{answer.status} {reason(answer.status)}", _fields(answer), self._table.encodings)
        sent_head, _, _, persistent = frame(
            encoded, method, http11, persistent, len(answer.body), self._table.server_fields
        )
        bare = method == "HEAD" or answer.status in {204, 304}
        self._transport.write(sent_head if bare else sent_head + answer.body)
        return persistent

    async def _send_stream(self, stream: Stream, method: str, http11: bool) -> bool:
        encoded = Encoded(f"{stream.status} {reason(stream.status)}", _fields(stream), self._table.encodings)
        if method == "HEAD":
            encoded.length = None
        head, _, _, persistent = frame(encoded, method, http11, http11, None, self._table.server_fields)
        self._transport.write(head)
        if method == "HEAD":
            return persistent
        self._become(ConnectionState.STREAMING)
        self._transport.set_write_buffer_limits(high=STREAM_BUFFER_BYTES)
        chunks = stream.chunks()
        try:
            async for chunk in chunks:
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if http11 else chunk)
                if self._room is not None:
                    await self._room
        except asyncio.CancelledError:
            if self.state is ConnectionState.CLOSED:
                raise
        finally:
            await _close(chunks)
        if http11:
            self._transport.write(LAST_CHUNK)
        return False

    # --- inside ---

    def _become(self, state: ConnectionState) -> None:
        self.state = state
        self._since = self._loop.time()
        self._table.note(self)

    def _wait_for_more(self) -> None:
        """Idle, or part of a request is here; its time runs from its first byte."""
        if self._http.state is Parsing.IDLE:
            self._become(ConnectionState.IDLE)
            if self._ended or self._table.stopping:
                self._transport.close()
            return
        if self.state is not ConnectionState.RECEIVING:
            self._become(ConnectionState.RECEIVING)
        if self._http.state is Parsing.BODY and not self._admitted:
            self._transport.pause_reading()
            self._admission = self._loop.create_task(self._admit())
            return
        if self._http.wants_continue:
            self._transport.write(CONTINUE)
            self._http.wants_continue = False
        self._parse_on_later()

    async def _admit(self) -> None:
        """Before more of a body is received: who may not is refused."""
        line, head = self._http.line, self._http.head
        assert line is not None
        assert head is not None
        refusal = None
        try:
            await self._table.served.admit(
                Request(line.method, line.path, line.query, head.fields, b"", self._peer, self._ends)
            )
        except HttpRefusal as error:
            refusal = error
        except Exception as error:
            self._table.on_error(f"{line.method} {line.path} failed", error)
            refusal = HttpRefusal(500, "see the daemon's error log")
        self._admission = None
        if self.state is not ConnectionState.RECEIVING:
            return  # its time was over
        if refusal is not None:
            self._refuse(refusal)
            self._linger()
            return
        self._admitted = True
        self._transport.resume_reading()
        self._wait_for_more()

    def _refuse(self, refusal: HttpRefusal) -> None:
        """An answer to what is no request."""
        line = self._http.line
        method = line.method if line is not None else "GET"
        self._send(self._table.served.refuse(refusal, line.path if line is not None else ""), method, True, False)

    def _linger(self) -> None:
        """Send no more; drop what comes until the client has gone, or for a while."""
        self._become(ConnectionState.LINGERING)
        if self._ended:
            self._transport.close()
            return
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # TLS: what comes until the client says the same is dropped

    def _hung_up(self) -> bool:
        """Whether the client has closed, not only its sending side. (On TCP that cannot be told.)"""
        poller = select.poll()
        poller.register(self._transport.get_extra_info("socket").fileno(), 0)
        return bool(poller.poll(0))


def _fields(answer: Answer | Stream) -> list[tuple[str, str]]:
    fields = [("Content-Type", answer.content_type)] if answer.content_type else []
    return [*fields, ("Cache-Control", "no-store"), *answer.fields]


async def _close(chunks: AsyncIterator[bytes]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
