"""A load client that loses nothing silently: every request is answered rightly, or is a failure with a kind.

It keeps N kept-alive connections busy with GETs of `path?token=…`, one outstanding on each, and expects the
body "VERSION PID TOKEN\\n". It never retries. A connection that the server closes while no request is
outstanding is no failure (RFC 9112, section 9.6), nor is one that it announced with `Connection: close`; a
request that gets no complete answer is. Some connections pause between requests, and each is renewed now
and then, so that drains meet idle ones and restarts meet new ones. Standard library only.
"""

from __future__ import annotations

import errno
import heapq
import random
import re
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.support.waiting import wait_for

ANSWER_SECONDS = 60.0  # what takes so long is lost, on whatever machine
RECONNECT_SECONDS = 0.01  # after a failed connection: a test must not measure its own busy loop
PAUSE_SECONDS = 0.05  # at most, on connections that pause

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_BODY = re.compile(rb"(\S+) (\d+) (\S*)\n")


class Failure(Enum):
    """Why a request counts as lost."""

    REFUSED = "refused"  # no connection
    RESET = "reset"  # RST while an answer was due
    CLOSED = "closed"  # end-of-file while an answer was due, not one byte of it
    TRUNCATED = "truncated"  # end-of-file or RST within an answer
    STATUS = "status"  # not 200
    BODY = "wrong body"
    TIMEOUT = "timeout"


class State(Enum):
    """A connection's state."""

    CONNECTING = "connecting"
    IDLE = "idle"
    WAITING = "waiting"  # for an answer
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Lost:
    """A request that was not answered rightly."""

    kind: Failure
    at: float  # time.monotonic
    pid: int | None  # which process had answered on this connection before
    detail: str = ""


@dataclass(slots=True)
class Report:
    """What happened so far."""

    answered: int = 0
    lost: list[Lost] = field(default_factory=list)
    versions: list[tuple[float, str]] = field(default_factory=list)  # each change of version, in time order
    by_version: Counter[str] = field(default_factory=Counter)
    by_pid: Counter[int] = field(default_factory=Counter)
    last_seen: dict[int, float] = field(default_factory=dict)  # pid -> when it last answered
    closes_announced: int = 0
    idle_closes: int = 0
    slowest: float = 0.0  # seconds

    @property
    def requests(self) -> int:
        return self.answered + len(self.lost)

    def failures(self) -> dict[str, int]:
        """Lost requests by kind."""
        return dict(Counter(lost.kind.value for lost in self.lost))

    def order(self) -> list[str]:
        """The versions in the order in which each answered first."""
        return list(dict.fromkeys(version for _, version in self.versions))

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {kind}" for kind, count in self.failures().items()) or "0"
        counts = ", ".join(f"{version} {self.by_version[version]:,}" for version in self.order())
        if self.lost and not self.answered:
            failed += f" ({self.lost[0].detail})"
        return (
            f"{self.requests:,} requests, failed: {failed}; versions in order: {counts}; "
            f"{len(self.by_pid)} processes answered; slowest {self.slowest * 1e3:.0f} ms"
        )


class _Connection:
    __slots__ = (
        "buffer",
        "deadline",
        "left",
        "number",
        "pauses",
        "pid",
        "sent_at",
        "socket",
        "state",
        "token",
    )

    def __init__(self, number: int, pauses: bool) -> None:
        self.number = number
        self.pauses = pauses
        self.socket: socket.socket | None = None
        self.state = State.CLOSED
        self.buffer = b""
        self.token = b""
        self.pid: int | None = None
        self.left = 0  # requests before it is renewed
        self.sent_at = 0.0
        self.deadline = 0.0

    def __repr__(self) -> str:
        return f"<connection {self.number} {self.state.value} pid={self.pid} token={self.token!r}>"


class Load:
    """A context that keeps a server busy from a thread of its own.

    `address` is (host, port) or a Unix socket's path; `connections` of them, every `pausing`-th one
    pausing; each is renewed after `renew` requests on average. `stop()` sends no more, waits for what is
    outstanding, and returns the report.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        connections: int = 16,
        path: str = "/",
        renew: int = 50,
        pausing: int = 4,
        seed: int = 1,
    ) -> None:
        self.address = address
        self.path = path
        self.renew = renew
        self.report = Report()
        self._chance = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._connections = [_Connection(number, number % pausing == pausing - 1) for number in range(connections)]
        self._due: list[tuple[float, int]] = []  # when a connection is to open or to send again
        self._sent = 0
        self._turns = 0  # of the loop
        self._stopping = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    # --- for tests ---------------------------------------------------------------------

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def waiting(self) -> int:
        """How many requests are outstanding."""
        return sum(connection.state is State.WAITING for connection in self._connections)

    def finish(self) -> int:
        """Send no more, and do not wait for answers; how many requests are outstanding then."""
        self._stopping = True
        goal = self._turns + 2
        while self._turns < goal and self._thread.is_alive():
            time.sleep(0.001)  # a request that the thread was about to send is sent now
        return self.waiting()

    def stop(self) -> Report:
        """Send no more, wait for the outstanding answers, close. Raises what went wrong in the thread."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS + 5)
        if self._error is not None:
            raise self._error
        return self.report

    def wait(self, condition: Callable[[Report], bool], what: str, seconds: float = ANSWER_SECONDS) -> Report:
        """Poll the report until the condition holds. Raises AssertionError that names `what`."""

        def holds() -> bool:
            if self._error is not None:
                raise self._error
            return condition(self.report)

        wait_for(holds, what, seconds, story=lambda: self.report)
        return self.report

    def wait_for_version(self, version: str, seconds: float = ANSWER_SECONDS) -> None:
        """Wait until a version has answered."""
        self.wait(lambda report: version in report.by_version, f"an answer of {version}", seconds)

    def wait_for_more(self, count: int, seconds: float = ANSWER_SECONDS) -> None:
        """Wait until so many more requests have been answered."""
        goal = self.report.answered + count
        self.wait(lambda report: report.answered >= goal, f"{count} more answers", seconds)

    # --- the thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # handed to stop() and wait()
            self._error = error
        finally:
            for connection in self._connections:
                self._close(connection)
            self._selector.close()

    def _loop(self) -> None:
        for connection in self._connections:
            self._open(connection)
        while not (self._stopping and all(c.state is not State.WAITING for c in self._connections)):
            self._turns += 1
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._continue(self._connections[heapq.heappop(self._due)[1]])
            pause = min(0.02, max(0.0, self._due[0][0] - now)) if self._due else 0.02
            for key, _events in self._selector.select(pause):
                connection = key.data
                if connection.state is State.CONNECTING:
                    self._connected(connection)
                elif connection.state is not State.CLOSED:
                    self._read(connection)
            self._expire()

    def _continue(self, connection: _Connection) -> None:
        if self._stopping:
            return
        if connection.state is State.CLOSED:
            self._open(connection)
        elif connection.state is State.IDLE:
            self._read(connection)  # an end that has come by now is seen before another request is sent
            if connection.state is State.IDLE:
                self._send(connection)

    def _open(self, connection: _Connection) -> None:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        sock = connection.socket = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        connection.pid = None
        connection.left = self._chance.randint(1, self.renew * 2)
        connection.deadline = time.monotonic() + ANSWER_SECONDS
        connection.state = State.CONNECTING
        number = sock.connect_ex(self.address)
        if number not in (0, errno.EINPROGRESS):
            self._lose(connection, Failure.REFUSED, errno.errorcode[number])
            return
        self._selector.register(sock, selectors.EVENT_WRITE, connection)

    def _connected(self, connection: _Connection) -> None:
        sock = connection.socket
        assert sock is not None
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._lose(connection, Failure.REFUSED, errno.errorcode[number])
            return
        self._selector.modify(sock, selectors.EVENT_READ, connection)
        connection.state = State.IDLE
        if self._stopping:
            self._close(connection)
        else:
            self._send(connection)

    def _send(self, connection: _Connection) -> None:
        assert connection.socket is not None
        self._sent += 1
        connection.token = b"%d.%d" % (connection.number, self._sent)
        connection.buffer = b""
        connection.sent_at = time.monotonic()
        connection.deadline = connection.sent_at + ANSWER_SECONDS
        joint = b"&" if "?" in self.path else b"?"
        target = self.path.encode() + joint + b"token=" + connection.token
        try:
            connection.socket.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        except OSError as error:
            self._lose(connection, Failure.RESET, str(error))
            return
        connection.state = State.WAITING

    def _read(self, connection: _Connection) -> None:
        assert connection.socket is not None
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(connection, Failure.RESET, str(error))
            return
        if not data:
            self._ended(connection, Failure.CLOSED, "")
            return
        if connection.state is State.IDLE:
            self._lose(connection, Failure.BODY, f"bytes that nobody asked for: {data[:60]!r}")
            return
        connection.buffer += data
        head, found, body = connection.buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n") if found else None
        if found and length is None:
            self._lose(connection, Failure.BODY, "no Content-Length")
        elif length is not None and len(body) >= int(length[1]):
            self._answer(connection, head + b"\r\n", body)

    def _answer(self, connection: _Connection, head: bytes, body: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200 "):
            self._lose(connection, Failure.STATUS, head.split(b"\r\n", 1)[0].decode("latin-1"))
            return
        match = _BODY.fullmatch(body)
        if match is None or match[3] != connection.token:
            self._lose(connection, Failure.BODY, f"{connection.token!r} got {body[:60]!r}")
            return
        now, report = time.monotonic(), self.report
        version, connection.pid = match[1].decode(), int(match[2])
        if not report.versions or report.versions[-1][1] != version:
            report.versions.append((now, version))
        report.by_version[version] += 1
        report.by_pid[connection.pid] += 1
        report.last_seen[connection.pid] = now
        report.slowest = max(report.slowest, now - connection.sent_at)
        report.answered += 1
        connection.state = State.IDLE
        connection.left -= 1
        if _CLOSE.search(head):
            report.closes_announced += 1
            self._renew(connection, 0.0)
        elif connection.left <= 0:
            self._renew(connection, 0.0)
        elif connection.pauses:
            self._later(connection, self._chance.random() * PAUSE_SECONDS)
        elif not self._stopping:
            self._send(connection)

    def _ended(self, connection: _Connection, kind: Failure, detail: str) -> None:
        """The server ended the connection: fine between requests, a loss within one."""
        if connection.state is State.IDLE:
            self.report.idle_closes += 1
            self._renew(connection, 0.0)
        else:
            self._lose(connection, Failure.TRUNCATED if connection.buffer else kind, detail)

    def _lose(self, connection: _Connection, kind: Failure, detail: str) -> None:
        self.report.lost.append(Lost(kind, time.monotonic(), connection.pid, detail))
        self._renew(connection, RECONNECT_SECONDS)

    def _expire(self) -> None:
        now = time.monotonic()
        for connection in self._connections:
            if connection.state in (State.WAITING, State.CONNECTING) and now > connection.deadline:
                self._lose(connection, Failure.TIMEOUT, f"{ANSWER_SECONDS:g} s, {connection.state.value}")

    def _renew(self, connection: _Connection, pause: float) -> None:
        self._close(connection)
        self._later(connection, pause)

    def _later(self, connection: _Connection, pause: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + pause, connection.number))

    def _close(self, connection: _Connection) -> None:
        if connection.socket is not None:
            try:
                self._selector.unregister(connection.socket)
            except (KeyError, ValueError):
                pass  # never got that far
            connection.socket.close()
            connection.socket = None
        connection.state = State.CLOSED
