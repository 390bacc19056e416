"""Connections that are not conversations yet: a PROXY header or a TLS handshake has to come first
(`engine.openings`).

Each costs its descriptor and what is kept here, in every pool: the poller tells of it, and no thread waits. It counts
as an open connection, and against `limits.connections`; there is a limit to its time.
"""

from __future__ import annotations

from typing import Any, Protocol

from miniwsgi.metrics import scoreboard

from ...engine.openings.opening import Opening, Opens
from ...engine.progress import input_waits
from ...unpatched import Socket, select
from .. import children
from ..context import NANOSECONDS, Context

_MASKS = {Opens.READ: select.POLLIN, Opens.WRITE: select.POLLOUT}  # the same as EPOLLIN and EPOLLOUT


class Poller(Protocol):
    """select.epoll or select.poll."""

    def register(self, fd: int, eventmask: int, /) -> object: ...
    def modify(self, fd: int, eventmask: int, /) -> object: ...
    def unregister(self, fd: int, /) -> object: ...


class Openings:
    """Of one worker, by descriptor. All methods belong to the owner of the loop."""

    def __init__(self, poller: Poller, context: Context) -> None:
        self.by_fd: dict[int, Opening] = {}
        self.openers = context.openers
        self._poller = poller
        self._cells = context.slot.cells
        self._drain_idle_ns = int(context.settings.drain_idle * NANOSECONDS)
        self._masks: dict[int, int] = {}
        children.withhold("openings", lambda: self.by_fd)

    def __repr__(self) -> str:
        return f"<Openings {len(self.by_fd)}>"

    def __len__(self) -> int:
        return len(self.by_fd)

    def __contains__(self, fd: int) -> bool:
        return fd in self.by_fd

    def admit(self, listener_fd: int, sock: Socket, address: Any, now: int) -> Opening | None:
        """A new client of a listener that is among `openers`. An opening that is ready is the caller's from here on."""
        opening = self.openers[listener_fd](sock, address, now)
        opens = opening.advance(now)
        if opens is Opens.READY:
            return opening
        if opens is Opens.OVER:
            opening.hang_up()
            return None
        fd, mask = opening.fileno(), _MASKS[opens]
        self.by_fd[fd], self._masks[fd] = opening, mask
        self._poller.register(fd, mask)
        self._cells[scoreboard.CONNECTIONS] += 1
        return None

    def go_on(self, fd: int, now: int) -> Opening | None:
        """The poller has told of it; as `admit`. Nobody watches a ready one any more."""
        opening = self.by_fd[fd]
        opening.spoke = True
        opens = opening.advance(now)
        if opens in _MASKS:
            if self._masks[fd] != _MASKS[opens]:
                self._masks[fd] = _MASKS[opens]
                self._poller.modify(fd, _MASKS[opens])
            return None
        self._forget(fd)
        if opens is Opens.READY:
            return opening
        opening.hang_up()
        return None

    def look(self, now: int) -> None:
        """To be called every second or so: close those whose time is over."""
        for fd, opening in list(self.by_fd.items()):
            if not opening.is_late(now):
                continue
            if self._masks[fd] == select.POLLIN and input_waits(opening.sock):
                continue  # it is we who are late; but nobody reads what one sends that is to take something first
            self._forget(fd)
            opening.expire()
            opening.hang_up()

    def close_silent(self, draining_since_ns: int, now: int) -> None:
        """While draining: close those that have said nothing in the `drain_idle` since it began."""
        if now - draining_since_ns < self._drain_idle_ns:
            return
        for fd, opening in list(self.by_fd.items()):
            if not opening.spoke and now - opening.since_ns >= self._drain_idle_ns and not input_waits(opening.sock):
                self._forget(fd)
                opening.dismiss()
                opening.hang_up()

    def disown(self) -> None:
        """In a forked process: these are the parent's."""
        for opening in self.by_fd.values():
            opening.hang_up()
        self.by_fd = {}

    def _forget(self, fd: int) -> None:
        self._poller.unregister(fd)  # closing does not, while a process that the application has forked has a copy
        del self.by_fd[fd], self._masks[fd]
        self._cells[scoreboard.CONNECTIONS] -= 1
