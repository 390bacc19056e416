"""Listening sockets, and the clients that are taken off their queues.

What is accepted are the interpreter's own sockets, below `socket.socket`: without its Python code around accept(2) and
close(2), and without its room, for each of many thousand idle connections.
"""

from __future__ import annotations

from typing import Any

from ..settings import Listener
from ..unpatched import Socket, socket


class ListeningSocket(Socket):
    """One of a worker's; it never blocks, nor do those that are accepted."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener) -> None:
        super().__init__(fileno=listener.fd)
        self.setblocking(False)
        self.listener = listener

    def __repr__(self) -> str:
        return f"<ListeningSocket {self.listener.name} fd={self.fileno()}>"

    def accept(self) -> tuple[Socket, Any]:
        """A client, and its address as of accept(2). Raises OSError."""
        fd, address = self._accept()  # type: ignore[attr-defined]
        sock = Socket(self.family, socket.SOCK_STREAM, 0, fd)
        sock.setblocking(False)
        return sock, address
