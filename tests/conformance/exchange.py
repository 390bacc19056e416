"""Many raw connections at once: each follows a script, and what the server did is recorded.

Connections take turns, one piece each, so that a server sees the pieces of a slow client apart without anyone
sleeping. An exchange ends when the server closes (by FIN or by RST), when its script says so, or at its deadline.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from .client import Reader, Response

Address = tuple[str, int] | str  # of a TCP port, or the path of a Unix socket
DEADLINE_SECONDS = 60.0  # only what hangs takes so long, also on a slow machine
AWAY_SECONDS = 0.4  # a client that has a second, and does nothing for so long, is not the server's fault


@dataclass(frozen=True, slots=True)
class Send:
    """Put these bytes on the wire, in one piece."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Answers:
    """Wait until this many responses are complete, interim ones counted."""

    count: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Wait until this many final responses are complete."""

    count: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """Wait until this many bytes have arrived."""

    count: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while (seconds); only for cases about time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Deaf:
    """Read nothing for a while (seconds), as a client that stalls."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Shut down the writing side; answers are still read."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Close at once, by RST if `reset`; nothing more is expected."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class Until:
    """Wait for a condition of the test's own, looked at each turn."""

    condition: Callable[[], bool]


Step = Send | Answers | Finished | Arrived | Until | Pause | Deaf | HalfClose | Leave


class End(Enum):
    """How a connection ended."""

    FIN = "closed"
    RESET = "reset"
    LEFT = "left by the client"
    DEADLINE = "still open at the deadline"
    REFUSED = "connection refused"


@dataclass(slots=True)
class Outcome:
    """What the server did on one connection."""

    responses: list[Response]
    violation: str
    end: End
    seconds: float

    @property
    def finals(self) -> list[Response]:
        return [response for response in self.responses if response.status >= 200]

    @property
    def interims(self) -> list[int]:
        return [response.status for response in self.responses if response.status < 200]


class Exchange:
    """One connection, its script and its outcome."""

    def __init__(
        self,
        steps: Iterable[Step],
        methods: Sequence[str] = (),
        seconds: float = DEADLINE_SECONDS,
        connect_after: float = 0.0,
    ) -> None:
        """`methods` are those of the requests, `seconds` the deadline, `connect_after` seconds from `run`."""
        self.steps = deque(steps)
        self.reader = Reader(methods)
        self.outcome: Outcome | None = None
        self.limit_seconds = seconds
        self.connect_after = connect_after
        self._socket: socket.socket
        self._unsent = b""
        self._started = self._resume = self._listen = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def start(self, address: Address) -> None:
        self._started = time.monotonic()
        try:
            if isinstance(address, str):
                self._socket = socket.socket(socket.AF_UNIX)
            else:
                self._socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(self.limit_seconds)
            self._socket.connect(address)
        except OSError:
            self.finish(End.REFUSED)
            return
        self._socket.setblocking(False)

    def turn(self, now: float) -> bool:
        """Take the next step if it can be taken; True if another may follow at once."""
        if now - self._started > self.limit_seconds:
            self.finish(End.DEADLINE)
            return False
        if self._unsent:
            return self._send(b"")
        if not self.steps:
            return False
        step = self.steps[0]
        if (
            (isinstance(step, Answers) and self.reader.answered < step.count)
            or (isinstance(step, Finished) and self.reader.finished < step.count)
            or (isinstance(step, Arrived) and self.reader.received < step.count)
            or (isinstance(step, Until) and not step.condition())
            or now < self._resume
        ):
            return False
        self.steps.popleft()
        if isinstance(step, Send):
            return self._send(step.data)
        if isinstance(step, Pause):
            self._resume = now + step.seconds
        elif isinstance(step, Deaf):
            self._resume = self._listen = now + step.seconds
        elif isinstance(step, HalfClose):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server closed first; reading tells how
        elif isinstance(step, Leave):
            if step.reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.finish(End.LEFT)
            return False
        return True

    def _send(self, data: bytes) -> bool:
        data = self._unsent or data
        try:
            self._unsent = data[self._socket.send(data) :]
        except BlockingIOError:
            self._unsent = data
            return False
        except OSError:
            self.steps.clear()  # nobody listens any more; what was answered can still be read
            self._unsent = b""
        return bool(self.steps or self._unsent)

    def deaf(self, now: float) -> bool:
        return now < self._listen

    def receive(self) -> None:
        """Called when the socket is readable."""
        try:
            data = self._socket.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            self.finish(End.RESET)
            return
        if data:
            self.reader.feed(data)
            if self.reader.violation:
                self.finish(End.LEFT)
        else:
            self.reader.end()
            self.finish(End.FIN)

    def finish(self, end: End) -> None:
        self._socket.close()
        seconds = time.monotonic() - self._started
        self.outcome = Outcome(self.reader.responses, self.reader.violation, end, seconds)


def run(exchanges: Iterable[Exchange], address: Address, concurrency: int = 64) -> float:
    """Carry out all exchanges, at most `concurrency` at a time; afterwards each has its outcome.

    Returns the longest time (seconds) for which the clients themselves were kept from acting by a busy machine: see
    AWAY_SECONDS.
    """
    waiting = deque(sorted(exchanges, key=lambda exchange: exchange.connect_after))
    began = last_look = time.monotonic()
    away = 0.0
    active: dict[int, Exchange] = {}
    muted: set[int] = set()
    poll = select.epoll()
    while waiting or active:
        while (
            waiting
            and len(active) < concurrency
            and (not waiting[0].connect_after or time.monotonic() - began >= waiting[0].connect_after)
        ):
            exchange = waiting.popleft()
            exchange.start(address)
            if exchange.outcome is None:
                active[exchange.fileno()] = exchange
                muted.discard(exchange.fileno())
                poll.register(exchange.fileno(), select.EPOLLIN)
        now = time.monotonic()
        away = max(away, now - last_look)
        last_look = now
        busy = False
        for descriptor, exchange in list(active.items()):
            busy |= exchange.turn(now)
            if exchange.outcome is not None:
                del active[descriptor]
            elif exchange.deaf(now) != (descriptor in muted):
                muted ^= {descriptor}
                poll.modify(descriptor, 0 if descriptor in muted else select.EPOLLIN)
        for descriptor, _ in poll.poll(0 if busy else 0.01):
            ready = active.get(descriptor)
            if ready is None:
                continue  # closed here, and still open in a process that another thread is about to start
            ready.receive()
            if ready.outcome is not None:
                del active[descriptor]
    poll.close()
    return max(away, time.monotonic() - last_look)
