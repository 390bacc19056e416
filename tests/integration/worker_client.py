"""One connection to a server under test: raw bytes out, responses in, and every way to leave.

Responses are read by the strict reader of the conformance tests.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable

from tests.conformance.client import Reader, Response
from tests.support.waiting import PATIENCE_SECONDS, SOON_SECONDS, wait_for


class Client:
    """Connected on creation."""

    def __init__(self, address: tuple[str, int], *, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader()
        self._read = 0
        self.received = 0

    def send(self, data: bytes) -> Client:
        self.socket.sendall(data)
        return self

    def get(self, path: str, *fields: str) -> Client:
        """Send a GET; the client, so that an answer can be asked for at once."""
        return self.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *fields, "", ""]).encode())

    def answer(self, seconds: float = PATIENCE_SECONDS) -> Response:
        """The next complete final response. Raises AssertionError if there is none."""
        while True:
            finals = [response for response in self.reader.responses if response.status >= 200]
            if len(finals) > self._read and finals[self._read].complete:
                self._read += 1
                return finals[self._read - 1]
            assert self.take(seconds), f"closed without an answer: {self.reader.responses} {self.reader.violation}"

    def take(self, seconds: float = PATIENCE_SECONDS, size: int = 65536) -> int:
        """Receive once; how many bytes, 0 at the end. Raises TimeoutError, ConnectionError."""
        self.socket.settimeout(seconds)
        data = self.socket.recv(size)
        if data:
            self.reader.feed(data)
        else:
            self.reader.end()
        self.received += len(data)
        assert not self.reader.violation, self.reader.violation
        return len(data)

    def take_until(self, condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Receive what comes until the condition is true. Raises AssertionError at the deadline."""

        def came() -> bool:
            if condition():
                return True
            if not self.silent(SOON_SECONDS):
                self.take()
            return False

        wait_for(came, seconds=seconds, every_seconds=0)

    def end(self, seconds: float = PATIENCE_SECONDS) -> list[Response]:
        """Read until the server closes, and close; the responses that no `answer` has taken, complete or not."""
        try:
            while self.take(seconds):
                pass
        except ConnectionResetError:
            self.reader.end()
        self.close()
        finals = [response for response in self.reader.responses if response.status >= 200]
        return finals[self._read :]

    def silent(self, seconds: float) -> bool:
        """Whether nothing arrives, and the connection stays open, for this long."""
        return not select.select([self.socket], [], [], seconds)[0]

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()
