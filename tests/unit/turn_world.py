"""A worker of one turn and its clients, without a process: for what waits until it is sent.

Every order is forced: the application looks at the clients, or at what is counted, while it is inside a call. But where
a test says so, nothing is sent for its age, nor tried again, and everything is held whatever calls take.
"""

from __future__ import annotations

import ctypes
import select
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.claim import Claim
from miniwsgi.daemon.engine.contract import Conversation, Outcome
from miniwsgi.daemon.log.access_log import AccessLog
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.context import Context
from miniwsgi.metrics.scoreboard import REQUESTS, SLOT_BYTES
from miniwsgi.metrics.slot import Slot

from tests.conformance.case import get

NEVER_NS = 10**17

_settime = ctypes.CDLL(None).timerfd_settime  # os.timerfd_settime is there from Python 3.13 on


class Lines:
    """The writer of an access log."""

    lost = untold = 0
    append = notice = None

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def put(self, line: bytes) -> None:
        self.lines.append(line)


class World:
    """Clients of one turn. What the application does for a target is in `during`, what it gives in `answers`."""

    def __init__(self, engine: str = "compiled", logged: bool = True, **changes: Any) -> None:
        memory = memoryview(bytearray(SLOT_BYTES))
        board: Any = SimpleNamespace(slot=lambda index: Slot(index, memory))
        settings = Settings(
            generation=1, listeners=(), scoreboard_fd=-1, module="x", directory="/", engine=engine, **changes
        )
        self.lines = Lines()
        writer: Any = self.lines
        self.context = Context(
            settings, board, 0, ErrorLog("error", "text", False, "worker", slot=0),
            AccessLog("-", "combined", writer) if logged else None, self.application, choice.choose(engine),
        )  # fmt: skip
        self.calls: Claim[Any] = Claim()
        self.owner, self.next_owner = (ThreadAccount(number, self.context.slot, 0, self.calls) for number in range(2))
        self.epoll = select.epoll()
        self.conversations: dict[int, Conversation] = {}
        self.clients: dict[str, socket.socket] = {}
        self.by_target: dict[str, Conversation] = {}
        self.during: dict[str, Callable[[], object]] = {}
        self.answers: dict[str, Callable[[], Any]] = {}
        self.headers: list[tuple[str, str]] = []
        self.went_on: list[tuple[str, Outcome]] = []
        self.go_on: Callable[[Conversation, Outcome, int], int] = lambda conversation, outcome, now: now or 1
        self.unusual: Callable[[], object] = lambda: None
        begin: Any = self.context.engine.begin
        self.turn = begin.turn(self.epoll, self.conversations, self._unusual, self._go_on, NEVER_NS)
        self.turn.holds = True
        if held := getattr(self.turn, "held", None):
            held.old_ns = held.late_ns = held.retry_ns = held.short_ns = NEVER_NS
            held.tiny_ns = -1

    def application(self, environ: dict[str, Any], start_response: Any) -> Any:
        target = environ["PATH_INFO"]
        self.during.get(target, lambda: None)()
        start_response("200 OK", self.headers)
        return self.answers.get(target, lambda: [target.encode()])()

    def _unusual(self, thread: ThreadAccount, fd: int, mask: int, now: int) -> int:
        self.unusual()
        return now

    def _go_on(self, thread: ThreadAccount, conversation: Conversation, outcome: Outcome, now: int) -> int:
        target = next(target for target, each in self.by_target.items() if each is conversation)
        self.went_on.append((target, outcome))
        return self.go_on(conversation, outcome, now)

    # --- the clients ---

    def client(self, target: str, *behind: bytes, fields: tuple[bytes, ...] = ()) -> Conversation:
        """One that has asked for this; the events of a turn come in the order in which their clients have asked."""
        near, far = socket.socketpair()
        for end in (near, far):
            end.setblocking(False)
        conversation = self.context.converse(near, Listener(0, "x", False, "x", "80"), ("127.0.0.1", 1), 0)
        conversation.mask = select.EPOLLIN
        self.conversations[near.fileno()] = conversation
        self.by_target[target] = conversation
        self.epoll.register(near.fileno(), select.EPOLLIN)
        self.clients[target] = far
        far.send(b"".join((get(target.encode(), *fields), *behind)))
        return conversation

    def got(self, target: str) -> bytes:
        """What the client has been sent since the last time."""
        found = b""
        try:
            while data := self.clients[target].recv(1 << 20):
                found += data
        except BlockingIOError:
            pass
        return found

    def is_answered(self, target: str) -> bool:
        found = self.got(target)
        if found:
            assert found.count(b"HTTP/1.1 200 OK") == 1
            assert found.endswith(target.encode())
        return bool(found)

    @property
    def settled(self) -> int:
        return self.context.slot.cells[REQUESTS]

    def serve(self, events: int) -> int:
        assert self.turn.wait(1) == events
        now: int = self.turn.serve(self.owner, time.monotonic_ns())
        return now

    def hurry(self) -> None:
        """It is late: the thread sends what is held just now."""
        (timer,) = self.turn.descriptors()
        at_once = (ctypes.c_long * 4)(0, 0, 0, 1)  # a struct itimerspec
        assert not _settime(timer, 0, at_once, None)

    def held(self) -> int:
        return int(repr(self.turn).rpartition("=")[2].rstrip(">"))

    def end(self) -> None:
        for each in (*self.clients.values(), *(conversation.sock for conversation in self.by_target.values())):
            each.close()
        self.epoll.close()
