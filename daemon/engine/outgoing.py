"""What waits for a client to read: bytes and parts of files, in their order.

Blocks that the application gives are kept as they are if they are large; small ones are put together. A result is
pulled further while a bounded part of it waits, if a loop goes on sending in the meantime. Where the application's
thread sends itself nothing may wait: PEP 3333 has no block delayed while the application makes the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..unpatched import Socket, os, socket, time

HIGH_WATER_BYTES = 256 * 1024  # a result is not pulled while this much waits for the client
LOW_WATER_BYTES = 64 * 1024
JOINED_BYTES = 16 * 1024  # smaller blocks are kept together
SENDFILE_BYTES = 1024 * 1024  # at once: they may have to come from a disk
FLUSH_NS = 500_000  # then what a client would still take has to wait: one file must not keep the loop from others


def send_extent(sock: Socket, fd: int, offset: int, count: int) -> int:
    """How many bytes of part of a file the client has taken: by sendfile(2), or as its connection does it. Raises
    OSError."""
    own: Callable[[int, int, int], int] | None = getattr(sock, "send_extent", None)
    return os.sendfile(sock.fileno(), fd, offset, count) if own is None else own(fd, offset, count)


def send_ahead(sock: Socket, data: bytes) -> int:
    """The same for what goes in front of it, which may wait for it in the kernel."""
    own: Callable[[bytes], int] = sock.send
    return own(data) if hasattr(sock, "send_extent") else sock.send(data, socket.MSG_MORE)


class _Extent:
    """Part of a regular file that is still to be sent; its descriptor is our own."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = os.dup(fd)
        self.offset = offset
        self.count = count


class Outgoing:
    """One conversation's. `unsent` bytes are left; `sent` were sent from here."""

    __slots__ = ("_high", "_low", "_parts", "_sock", "ahead", "sent", "unsent")

    def __init__(self, sock: Socket, *, ahead: bool = True) -> None:
        """`ahead`: something may wait while the application goes on."""
        self._sock = sock
        self.ahead = ahead
        self._high, self._low = (HIGH_WATER_BYTES, LOW_WATER_BYTES) if ahead else (1, 0)
        self._parts: deque[bytearray | memoryview | _Extent] = deque()
        self.unsent = 0
        self.sent = 0

    def __repr__(self) -> str:
        return f"<Outgoing {self.unsent} bytes in {len(self._parts)} parts>"

    @property
    def is_full(self) -> bool:
        """Nothing more of a result is to be pulled until there is room."""
        return self.unsent >= self._high

    @property
    def has_room(self) -> bool:
        """More of a result may be pulled."""
        return self.unsent <= self._low

    def keep(self, data: memoryview) -> None:
        """Send these bytes behind all others."""
        parts = self._parts
        self.unsent += len(data)
        # Blocks of a byte each cost one system call and one object, if they are not put together.
        if len(data) >= JOINED_BYTES:
            parts.append(data)
        elif parts and isinstance(last := parts[-1], bytearray) and len(last) < JOINED_BYTES:
            last += data
        else:
            parts.append(bytearray(data))

    def keep_file(self, fd: int, offset: int, count: int) -> None:
        """The same for part of a file; the descriptor may be closed afterwards. Raises OSError, and keeps nothing."""
        self._parts.append(_Extent(fd, offset, count))
        self.unsent += count

    def flush(self) -> None:
        """Send as far as the client takes it, of a file only for a bounded time. Raises OSError if it never will."""
        parts = self._parts
        ends_ns = time.monotonic_ns() + FLUSH_NS
        try:
            while parts:
                part = parts[0]
                if isinstance(part, bytearray):
                    sent = self._sock.send(part)
                    left = len(part) - sent
                    if left:
                        del part[:sent]
                elif isinstance(part, memoryview):
                    sent = self._sock.send(part)
                    left = len(part) - sent
                    if left:
                        parts[0] = part[sent:]
                else:
                    sent = send_extent(self._sock, part.fd, part.offset, min(part.count, SENDFILE_BYTES))
                    part.offset += sent
                    part.count -= sent
                    left = part.count
                    if not sent:  # the file has shrunk: what was promised cannot be sent
                        raise ConnectionAbortedError
                self.unsent -= sent
                self.sent += sent
                if not left:
                    self._drop_first()
                elif sent != SENDFILE_BYTES or time.monotonic_ns() > ends_ns:
                    return
        except BlockingIOError:
            pass

    def discard(self) -> None:
        """Forget all of it."""
        while self._parts:
            self._drop_first()
        self.unsent = 0

    def _drop_first(self) -> None:
        part = self._parts.popleft()
        if isinstance(part, _Extent):
            os.close(part.fd)
