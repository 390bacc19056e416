"""What a client does while it is waited for; above all, whether it reads what it has asked for.

A minimum of bytes a second is expected over windows of `send_timeout`.

What the kernel has taken is not what the client has got: a send buffer holds megabytes, and a full one counts as
writable only when a third of it is free again. So progress is what has left the send queue, acknowledged by the peer.
"""

from __future__ import annotations

import fcntl
import sys
import termios

from ..settings import Settings
from ..unpatched import Socket, select, socket, time
from .transport import Disconnected


class NotRead(Disconnected):
    """The client reads too slowly, or not at all."""


def queued_bytes(sock: Socket) -> int:
    """Bytes in the socket's send queue (SIOCOUTQ, tcp(7) and unix(7)); 0 if it cannot tell."""
    try:
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def input_waits(sock: Socket) -> bool:
    """Whether bytes have arrived that nobody has read yet.

    Whoever looks at a client's silence has to ask: it may be the server that was busy.
    """
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


class Progress:
    """Of one response that is sent by a thread which waits for its client."""

    __slots__ = ("_delivered", "_poller", "_rate", "_seconds", "_sock", "_waited")

    def __init__(self, sock: Socket, settings: Settings) -> None:
        self._sock = sock
        self._poller = select.poll()
        self._poller.register(sock, select.POLLOUT)
        self._seconds = settings.send_timeout
        self._rate = settings.minimum_rate
        self._waited = 0.0  # of this window; only waiting counts, the application's own time does not
        self._delivered = 0

    def wait(self) -> None:
        """Wait until something can be sent, or a while. Raises NotRead if the client is too slow."""
        queued = queued_bytes(self._sock)
        began = time.monotonic()
        self._poller.poll(max(1.0, (self._seconds - self._waited) * 1000))
        self._waited += time.monotonic() - began
        self._delivered += queued - queued_bytes(self._sock)
        if self._waited >= self._seconds:
            if self._delivered < self._rate * self._waited:
                raise NotRead
            self._waited = 0.0
            self._delivered = 0
