"""Connections that have had their last answer, and are closed in stages (RFC 9112 section 9.6).

Our side is shut down, the socket stays until the client has ended its own: bytes that arrive for a socket that is
closed already are answered by a reset, which takes what the client has not got yet of its answer. What arrives is
thrown away. The time of the client runs from when it has all of the answer, as long as it takes some of it.

These connections serve nobody: they count neither as open nor against `limits.connections`, and so there is a bound to
their number, to their time and to what is read from each.
"""

from __future__ import annotations

import resource
from typing import Protocol

from ...engine.progress import queued_bytes
from ...settings import Settings
from ...unpatched import Socket, socket
from .. import children
from ..context import NANOSECONDS

LINGER_NS = 2 * NANOSECONDS  # for the client's end, once it has everything
MAX_BYTES = 256 * 1024 * 1024  # from one client: of an upload that was refused, before it reads why
MAX_LINGERING = 1024  # beyond it the oldest gives way
RECEIVE_BYTES = 65536


class Poller(Protocol):
    """select.epoll or select.poll."""

    def unregister(self, fd: int, /) -> None: ...


class _Ending:
    __slots__ = ("queued", "received", "since_ns", "sock")

    def __init__(self, sock: Socket, since_ns: int) -> None:
        self.sock = sock
        self.since_ns = since_ns
        self.queued = -1  # bytes of the answer that the client did not have then; -1: nobody has looked
        self.received = 0


class Lingering:
    """Of one worker, by descriptor. All methods belong to the owner of the loop."""

    def __init__(self, poller: Poller, settings: Settings) -> None:
        self._poller = poller
        self._settings = settings
        self._endings: dict[int, _Ending] = {}  # in the order of `since_ns`
        children.withhold("lingering", lambda: self._endings)
        self._most = min(MAX_LINGERING, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))

    def __repr__(self) -> str:
        return f"<Lingering {len(self._endings)}>"

    def __len__(self) -> int:
        return len(self._endings)

    def __contains__(self, fd: int) -> bool:
        return fd in self._endings

    def add(self, sock: Socket, now: int) -> None:
        """Take over a socket, which the poller watches for input, and send its end; `now` is monotonic ns."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # both sides are ended: it was reset, or cut
            self._poller.unregister(sock.fileno())
            sock.close()
            return
        if len(self._endings) >= self._most:
            self._close(next(iter(self._endings)))
        self._endings[sock.fileno()] = _Ending(sock, now)

    def read(self, fd: int) -> None:
        """Something has come, or the end."""
        ending = self._endings[fd]
        try:
            size = len(ending.sock.recv(RECEIVE_BYTES))
        except BlockingIOError:
            return
        except OSError:
            size = 0
        ending.received += size
        if not size or ending.received > MAX_BYTES:
            self._close(fd)

    def look(self, now: int) -> None:
        """To be called every second or so: close those whose time is over."""
        for fd, ending in list(self._endings.items()):
            waited = now - ending.since_ns
            if waited <= LINGER_NS:
                break  # nor is it over for those behind it
            had, has = ending.queued, queued_bytes(ending.sock)
            wanted = self._settings.minimum_rate * waited / NANOSECONDS
            if (had < 0 and has) or (had > 0 and had - has >= wanted):
                ending.queued, ending.since_ns = has, now
                self._endings[fd] = self._endings.pop(fd)
            else:
                self._close(fd)

    def disown(self) -> None:
        """In a forked process: these are the parent's."""
        for ending in self._endings.values():
            ending.sock.close()
        self._endings = {}

    def _close(self, fd: int) -> None:
        self._poller.unregister(fd)  # closing does not, while a process that the application has forked has a copy
        self._endings.pop(fd).sock.close()
