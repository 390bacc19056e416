"""A client's connection on a non-blocking socket, as the epoll pool sees it: a Connection that is also a Transport.

Who may touch it: while `hold` is HELD the thread that runs its request (it sends, nothing else), otherwise whoever
holds the loop. Only the loop arms, mutes and closes the descriptor.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any

from miniwsgi.metrics.scoreboard import Closed

from ...engine.call import Disconnected, Exchange
from ...engine.proxy import Proxy
from ...http.connection import Connection
from ...unpatched import os, select, socket, time
from ..context import Context
from .presence import has_left
from .progress import NotRead, Progress

HIGH_WATER_BYTES = 256 * 1024  # a result is not pulled while this much waits for the client
LOW_WATER_BYTES = 64 * 1024
JOINED_BYTES = 16 * 1024  # smaller blocks are kept together
SENDFILE_BYTES = 1024 * 1024  # a turn: one file must not keep the loop from others


class Hold(Enum):
    """Where the connection is in the loop's eyes."""

    WATCHED = "watched"  # readable events are wanted
    HELD = "held"  # a thread runs its request, or it waits for one
    WRITING = "writing"  # bytes wait for the client to read


class _Extent:
    """Part of a regular file that is still to be sent; its descriptor is our own."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = os.dup(fd)
        self.offset = offset
        self.count = count


class Peer(Connection):
    """One client. `since_ns` is when its present state began (the last request's end, for an idle one)."""

    __slots__ = (
        "_out", "closed", "ended_ns", "environ", "exchange", "gone", "hold", "mask", "out_bytes", "owner",
        "progress", "proxy", "requests", "settings", "since_ns", "sock", "stage", "started_ns",
        "took_ns", "turn_ends_ns", "waited_ns",
    )  # fmt: skip

    def __init__(
        self, context: Context, sock: socket.socket, base: dict[str, Any], proxy: Proxy | None, now_ns: int
    ) -> None:
        super().__init__(context.limits_for(base), context.settings.body_memory_bytes, context.spool_directory, base)
        self.settings = context.settings
        self.sock = sock
        self.proxy = proxy
        self.hold = Hold.WATCHED
        self.mask = select.EPOLLIN  # as armed in epoll
        self.since_ns = now_ns
        self.stage = self.state  # the state that `since_ns` belongs to, between requests
        self.requests = 0
        self.closed = Closed.CLIENT  # for the count: why it will have been closed
        self.gone = False  # reset or not reading: nothing more can be sent
        self._out: deque[bytearray | memoryview | _Extent] | None = None
        self.out_bytes = 0
        # Since `since_ns`: bytes given to the kernel, and those it had then; or the body's bytes received until then.
        self.progress = 0
        # the request that is being answered
        self.exchange: Exchange | None = None
        self.environ: dict[str, Any] = base
        self.owner: Any = None  # the thread that called the application, for a result that is pulled in parts
        self.turn_ends_ns = 0  # for results that are pulled; 0: never, nobody waits for this thread
        self.started_ns = 0
        self.waited_ns = -1  # for a thread; not yet counted
        self.took_ns = 0  # its last call, if another thread than the loop's made it …
        self.ended_ns = 0  # … and when that was over

    def __repr__(self) -> str:
        address = f"{self.base['REMOTE_ADDR']}:{self.base['REMOTE_PORT']}"
        return f"<Peer {address} {self.state.name} {self.hold.value} out={self.out_bytes}>"

    # --- the Transport of exchanges ---

    def send(self, data: bytes, /) -> bool:
        if self.gone:
            raise Disconnected
        if self._out:
            self._keep(memoryview(data))
            return self.out_bytes >= HIGH_WATER_BYTES
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.gone = True
            raise Disconnected from None
        if sent == len(data):
            return False
        self._keep(memoryview(data)[sent:])
        return self.out_bytes >= HIGH_WATER_BYTES

    def send_file(self, fd: int, offset: int, count: int, /) -> None:
        if self.gone:
            raise Disconnected
        if not self._out and count:
            try:
                sent = os.sendfile(self.sock.fileno(), fd, offset, min(count, SENDFILE_BYTES))
            except BlockingIOError:
                sent = 0
            except OSError:
                self.gone = True
                raise Disconnected from None
            offset += sent
            count -= sent
        if count:
            self._keep(_Extent(fd, offset, count))

    def turn_is_over(self) -> bool:
        return bool(self.turn_ends_ns) and time.monotonic_ns() > self.turn_ends_ns

    def check_client(self) -> None:
        if self.gone or has_left(self.sock):
            self.gone = True
            raise Disconnected

    def wait_writable(self) -> None:
        """For write(): wait until the client has read. The loop, if this thread has it, is taken over meanwhile."""
        progress = Progress(self.sock, self.settings)
        while self.out_bytes > LOW_WATER_BYTES:
            try:
                progress.wait()
            except NotRead:
                self.gone = True
                self.closed = Closed.TIMEOUT
                raise
            self.flush()
            if self.gone:
                raise Disconnected

    # --- the loop's side ---

    def flush(self) -> None:
        """Send what is kept, as far as the client takes it; `gone` says if it will never."""
        out = self._out
        try:
            while out:
                part = out[0]
                if isinstance(part, bytearray):
                    sent = self.sock.send(part)
                    left = len(part) - sent
                    if left:
                        del part[:sent]
                elif isinstance(part, memoryview):
                    sent = self.sock.send(part)
                    left = len(part) - sent
                    if left:
                        out[0] = part[sent:]
                else:
                    sent = os.sendfile(self.sock.fileno(), part.fd, part.offset, min(part.count, SENDFILE_BYTES))
                    part.offset += sent
                    part.count -= sent
                    left = part.count
                    if not sent:  # the file has shrunk: what was promised cannot be sent
                        raise ConnectionAbortedError
                self.out_bytes -= sent
                self.progress += sent
                if left:
                    return
                self._drop_first(out)
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True

    def discard(self) -> None:
        """Forget what is kept for sending."""
        while self._out:
            self._drop_first(self._out)
        self.out_bytes = 0

    def _keep(self, part: memoryview | _Extent) -> None:
        out = self._out
        if out is None:
            out = self._out = deque()
        if isinstance(part, _Extent):
            self.out_bytes += part.count
            out.append(part)
            return
        self.out_bytes += len(part)
        # Blocks of a byte each cost one system call and one object, if they are not put together.
        if out and isinstance(last := out[-1], bytearray) and len(last) < JOINED_BYTES:
            last += part
        else:
            out.append(bytearray(part) if len(part) < JOINED_BYTES else part)

    @staticmethod
    def _drop_first(out: deque[bytearray | memoryview | _Extent]) -> None:
        part = out.popleft()
        if isinstance(part, _Extent):
            os.close(part.fd)
