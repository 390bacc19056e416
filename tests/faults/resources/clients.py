"""Clients beside the load: single requests whose answers are asked for, and crowds of connections.

A crowd is many connections that one thread holds; each is at one stage of a request, and every one is accounted for.
"""

from __future__ import annotations

import http.client
import re
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.waiting import PATIENCE_SECONDS, wait_for

AT_ONCE = 256  # handshakes under way: a listener's queue is bounded
KEPT_BYTES = 4096  # of what each is told
RST = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def get(daemon: Daemon, path: str, seconds: float = PATIENCE_SECONDS) -> http.client.HTTPResponse:
    """An answer, read to its end, to a GET on a new connection. Raises OSError, http.client.HTTPException."""
    return _ask(daemon, "GET", path, None, seconds)


def post_length(daemon: Daemon, size: int) -> int:
    """The status for a body of so many bytes; the application must have got all of it, or none."""
    response = _ask(daemon, "POST", "/length", bytes(size), PATIENCE_SECONDS)
    if response.status == 200:
        assert response.said.endswith(f" {size}\n".encode()), response.said  # type: ignore[attr-defined]
    return response.status


def _ask(daemon: Daemon, method: str, path: str, body: bytes | None, seconds: float) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*daemon.address, timeout=seconds)
    try:
        try:
            connection.request(method, path, body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of the body was sent: the answer is there
        response = connection.getresponse()
        response.said = response.read()  # type: ignore[attr-defined]
        return response
    finally:
        connection.close()


def lines_of(path: Path, text: str) -> int:
    """How many lines of a file have a text."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return sum(text in line for line in file)


class Crowd:
    """A context of many connections. Each sends `sent` once it is connected, and is then left alone."""

    def __init__(self, daemon: Daemon, count: int, sent: bytes = b"", *, receive_bytes: int = 0) -> None:
        self.address = daemon.address
        self.count = count
        self.sent = sent
        self.ended: Counter[str] = Counter()  # how the connections ended: by status, or "closed" or "reset"
        self._receive_bytes = receive_bytes
        self._selector = selectors.DefaultSelector()
        self.received: Counter[socket.socket] = Counter()  # bytes
        self._heard: dict[socket.socket, bytes] = {}

    def __enter__(self) -> Crowd:
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _connect(self) -> None:
        """Raises AssertionError if a connection is refused, or takes too long."""
        made, deadline = 0, time.monotonic() + 2 * PATIENCE_SECONDS
        with selectors.DefaultSelector() as pending:
            while made < self.count or pending.get_map():
                while made < self.count and len(pending.get_map()) < AT_ONCE:
                    sock = socket.socket()
                    sock.setblocking(False)
                    if self._receive_bytes:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
                    self._heard[sock] = b""
                    sock.connect_ex(self.address)
                    pending.register(sock, selectors.EVENT_WRITE)
                    made += 1
                for key, _events in pending.select(0.1):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    assert not error, f"connection {len(self._heard)} of {self.count}: error {error}"
                    pending.unregister(sock)
                    self._selector.register(sock, selectors.EVENT_READ)
                    try:
                        sock.send(self.sent)
                    except OSError:
                        pass  # closed already: its end will be seen
                assert time.monotonic() < deadline, f"{len(pending.get_map())} of {made} are not connected"

    @property
    def open(self) -> int:
        """How many have not ended."""
        return len(self._selector.get_map())

    def send(self, data: bytes) -> None:
        """Another piece from each."""
        for sock in self._sockets():
            try:
                sock.send(data)
            except OSError:
                pass

    def listen(self, until: Callable[[], bool], what: str, seconds: float = 2 * PATIENCE_SECONDS) -> None:
        """Take what comes until the condition holds. Raises AssertionError that names `what`."""

        def heard() -> bool:
            if until():
                return True
            for key, _events in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                try:
                    data = sock.recv(65536)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    self._end(sock, reset=True)
                    continue
                if data:
                    self.received[sock] += len(data)
                    self._heard[sock] = (self._heard[sock] + data)[:KEPT_BYTES]
                else:
                    self._end(sock)
            return False

        wait_for(heard, what, seconds, story=lambda: f"{self.open} open, {self.ended}", every_seconds=0)

    def answers(self) -> list[tuple[int, bytes]]:
        """Of each connection that has a complete answer, open or not: status and body."""
        found = []
        for heard in self._heard.values():
            head, ended, body = heard.partition(b"\r\n\r\n")
            length = _LENGTH.search(head + b"\r\n") if ended else None
            if length is not None and len(body) >= int(length[1]):
                found.append((int(heard[9:12]), body))
        return found

    def forget(self) -> None:
        """What was heard so far."""
        self._heard = dict.fromkeys(self._heard, b"")

    def reset(self) -> None:
        """Leave all of them by RST."""
        for sock in self._sockets():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        self.close()

    def close(self) -> None:
        for sock in self._heard:
            sock.close()
        self._selector.close()
        self._heard.clear()

    def _sockets(self) -> list[socket.socket]:
        return [key.fileobj for key in self._selector.get_map().values()]  # type: ignore[misc]

    def _end(self, sock: socket.socket, reset: bool = False) -> None:
        self._selector.unregister(sock)
        heard = self._heard[sock]
        status = heard[9:12].decode() if heard.startswith(b"HTTP/1.1 ") else ""
        self.ended[status or ("reset" if reset else "closed")] += 1
        sock.close()
