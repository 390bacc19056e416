"""Slow clients: connections that send the head of a request a byte at a time, one a second each."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

TURNS = 20  # a second: each turn, a part of the clients sends its byte
HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: " + b"slow " * 1000


class SlowClients:
    """A context in which `count` clients send a byte a second to a port. Raises OSError when they cannot connect."""

    def __init__(self, port: int, count: int, turn_seconds: float = 1 / TURNS) -> None:
        self.port = port
        self.count = count
        self.turn_seconds = turn_seconds
        self.sockets: list[socket.socket] = []
        self.refused = 0  # clients that the server has let go
        self.sent = 0  # bytes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SlowClients:
        try:
            for _ in range(self.count):
                sock = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                self.sockets.append(sock)
                sock.setblocking(False)
                sock.send(HEAD[:1])
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._close()

    def _run(self) -> None:
        """In its thread: each of the clients has its turn once a second."""
        turn = 0
        due = time.monotonic()
        while not self._over.is_set():
            for sock in self.sockets[turn % TURNS :: TURNS]:
                if sock.fileno() >= 0:
                    self._send(sock, 1 + turn // TURNS)
            turn += 1
            due += self.turn_seconds
            self._over.wait(max(0.0, due - time.monotonic()))

    def _send(self, sock: socket.socket, position: int) -> None:
        try:
            self.sent += sock.send(HEAD[position : position + 1])
        except BlockingIOError:
            pass
        except OSError:
            self.refused += 1
            sock.close()

    def _close(self) -> None:
        for sock in self.sockets:
            with suppress(OSError):
                sock.close()
