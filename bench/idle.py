"""Idle kept-alive connections: opened, each answered once, then held in silence."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from types import TracebackType

BATCH = 200  # opened at a time: less than any server's backlog
ANSWER_SECONDS = 10.0


class IdleConnections:
    """A context that holds `count` connections to a port, each kept alive after one answered request.

    Raises OSError when they cannot be opened or are not answered (TimeoutError, ConnectionError).
    """

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.count = count
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> IdleConnections:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            while len(self.sockets) < self.count:
                self._open(min(BATCH, self.count - len(self.sockets)))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, count: int) -> None:
        request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode()
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                sock = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
                self.sockets.append(sock)
                sock.sendall(request)
                selector.register(sock, selectors.EVENT_READ, sock)
            deadline = time.monotonic() + ANSWER_SECONDS
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError(f"{len(selector.get_map())} connections were not answered")
                for key, _events in ready:
                    if not key.data.recv(4096):
                        raise ConnectionError("a connection was closed instead of being answered")
                    selector.unregister(key.fileobj)

    def still_open(self) -> int:
        """How many the server has not closed."""
        alive = 0
        for sock in self.sockets:
            sock.setblocking(False)
            try:
                alive += bool(sock.recv(1))
            except BlockingIOError:
                alive += 1
            except OSError:
                pass
        return alive

    def close(self) -> None:
        """Close them all."""
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()
