"""A server for the benchmark's clients that answers as a test tells it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bench.apps.bench_app import PAUSE_SECONDS

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nDate: now\r\n\r\nHello, world!\n"


class Fake:
    """A server that answers each head with the same bytes, or with what is made of it."""

    def __init__(self, answer: bytes | Callable[[bytes], bytes], most: int | None = None, then: bytes = b"") -> None:
        self.answer = answer
        self.then = then  # sent after a pause
        self.most = most  # answers on one connection, after which it is closed
        self.heads: list[bytes] = []
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.received = 0  # bytes
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        got, answered = b"", 0
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                with self.changed:
                    self.received += len(data)
                    self.changed.notify_all()
                got += data
                while b"\r\n\r\n" in got:
                    head, _, got = got.partition(b"\r\n\r\n")
                    self.heads.append(head)
                    answer = self.answer if isinstance(self.answer, bytes) else self.answer(head)
                    connection.sendall(answer)
                    if self.then:
                        time.sleep(PAUSE_SECONDS)
                        connection.sendall(self.then)
                    answered += 1
                    if answered == self.most or b"Connection: close" in answer:
                        return


@contextmanager
def serving(answer: bytes | Callable[[bytes], bytes], most: int | None = None, then: bytes = b"") -> Iterator[Fake]:
    fake = Fake(answer, most, then)
    try:
        yield fake
    finally:
        fake.listener.close()
