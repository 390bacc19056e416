"""A connection for each request: what one that has ended leaves for the next is not to be seen in that one's answer."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Conversation, Stage
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.balance import FULL_SECONDS
from miniwsgi.daemon.worker.context import Context
from miniwsgi.daemon.worker.pools.epoll import loop
from miniwsgi.daemon.worker.pools.epoll.loop import EpollPool
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CONNECTIONS, REQUESTS

from tests.conformance.case import get, get10, head, post
from tests.support.waiting import PATIENCE_SECONDS

NOW = 10**12
LATER = 1 << 62
CLOSE = b"Connection: close"
# What clients send one after the other, each on a connection of its own.
EXCHANGES = [
    get(b"/", CLOSE),
    get(b"/", CLOSE),
    get(b"/other?query", CLOSE, b"Cookie: mine"),
    get(b"/other?query", CLOSE, b"Cookie: yours, and longer"),
    get(b"/other?query", CLOSE, b"Cookie: " + b"x" * 2000),
    get(b"/other?query", CLOSE, b"Cookie: \xe9"),
    get(b"/", CLOSE, b"X-One: 1", b"X-Two: 2"),
    get(b"/", CLOSE, b"X-Two: 2", b"X-One: 1"),
    get(b"/", CLOSE),
    get10(b"/old"),
    get10(b"/old", b"Host: b"),
    get(b"/", CLOSE),
    head(b"/").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    post(b"a body", CLOSE),
    post(b"another body", CLOSE),
    get(b"/", CLOSE),
    get(b"/", CLOSE) + b"and more",
    get(b"/", CLOSE),
    b"\r\n" + get(b"/", CLOSE),
    b"GET / HTTP/1.1\r\n\r\n",
    get(b"/", CLOSE),
    get(b"/long", CLOSE),
    get(b"/parts", CLOSE),
    get(b"/raises", CLOSE),
    get(b"/", CLOSE),
]


class World:
    """A pool that nobody runs, and its listener."""

    def __init__(self, engine: str) -> None:
        board = Board.create()
        board.claim(0)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        listener = Listener(os.dup(self.listening.fileno()), "x", False, "127.0.0.1", "80")
        settings = Settings(
            generation=1, listeners=(listener,), scoreboard_fd=board.fd, module="x", directory="/", threads=2,
            engine=engine,
        )  # fmt: skip
        log = ErrorLog("error", "text", False, "worker", slot=0)
        self.context = Context(settings, board, 0, log, None, self.application, choose(engine))
        orders: Any = SimpleNamespace(fds=list, read=None, deaf=False, has_master=False, keep_signals=lambda: None)
        self.pool = EpollPool(self.context, orders)
        self.me = self.pool._threads.owner
        self.pool._threads.watching = True  # nobody does
        self.pool._acceptor.open()
        self.environs: list[dict[str, Any]] = []
        self.during: Callable[[Any], None] = lambda _start_response: None

    def application(self, environ, start_response):
        self.environs.append(environ)
        self.during(start_response)
        path = environ["PATH_INFO"]
        if path == "/raises":
            raise ValueError(path)
        start_response("200 OK", [("Content-Type", "text/plain")])
        body = environ["wsgi.input"].read() or b"."
        return iter([body, body]) if path == "/parts" else [body * (10**5 if path == "/long" else 1)]

    def turn(self, now: int | None = None) -> None:
        """Take who waits, and serve who has sent something."""
        self.pool._turn.ends_ns = LATER
        self.pool._acceptor._most = 16
        self.pool._accept(self.me, self.pool._acceptor.fds[0], now or time.monotonic_ns())

    def answer(self, sent: bytes, late: bool = False) -> tuple[bytes, int]:
        """What a client of its own gets for it, and its port."""
        with socket.create_connection(self.listening.getsockname(), timeout=5) as client:
            if late:
                self.turn()  # before it has said anything
            client.sendall(sent)
            got, ends = b"", time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < ends:
                self.turn()
                self.serve()
                try:
                    client.settimeout(0.01)
                    data = client.recv(10**6)
                except TimeoutError:
                    continue
                except ConnectionResetError:
                    return got, client.getsockname()[1]
                if not data:
                    return got, client.getsockname()[1]
                got += data
        raise AssertionError("the connection does not end")

    def serve(self) -> None:
        self.pool._turn.wait(0)
        self.pool._turn.serve(self.me, time.monotonic_ns())
        for fd in self.pool._turn.others:
            self.pool._other(self.me, fd, time.monotonic_ns())
        self.pool._turn.others.clear()

    def cell(self, number: int) -> int:
        return self.context.slot.cells[number]

    def close(self) -> None:
        self.pool._acceptor.close()
        self.listening.close()
        self.pool.epoll.close()


@pytest.fixture
def world(engine: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(loop, "LONG_NS", LATER)  # no call is long, however busy the machine
    made = World(engine)
    yield made
    made.close()


def test_each_has_its_own_address_and_fields_and_nothing_of_the_last_one(world: World) -> None:
    for number, sent in enumerate(EXCHANGES):
        _, port = world.answer(sent, late=bool(number % 3))
        alone = World("plain")
        alone.answer(sent)
        assert len(world.environs) == len(alone.environs)
        for environ, expected in zip(world.environs, alone.environs, strict=True):
            assert environ["REMOTE_PORT"] == str(port)
            assert environ["REMOTE_ADDR"] == "127.0.0.1"
            assert told(environ) == told(expected)
        alone.close()
        world.environs.clear()
    assert world.cell(ACCEPTED) == world.cell(CLOSED) == len(EXCHANGES)
    assert (world.cell(CONNECTIONS), world.pool.clients.conversations) == (0, {})


def told(environ: dict[str, Any]) -> dict[str, Any]:
    """What does not differ from one worker and client to another."""
    own = {"REMOTE_PORT", "miniwsgi.request_id", "miniwsgi.connected", "wsgi.early_hints", "wsgi.errors", "wsgi.input"}
    return {key: value for key, value in environ.items() if key not in own}


def test_what_the_application_keeps_stays_as_it_was(world: World) -> None:
    ports = [world.answer(get(b"/%d" % number, CLOSE, b"Cookie: %d" % number))[1] for number in range(4)]
    for number, (port, environ) in enumerate(zip(ports, world.environs, strict=True)):
        found = environ["PATH_INFO"], environ["HTTP_COOKIE"], environ["REMOTE_PORT"]
        assert found == (f"/{number}", str(number), str(port))


def test_a_conversation_that_somebody_has_got_hold_of_is_nobody_elses(world: World) -> None:
    held: list[Conversation] = []
    world.during = lambda _start_response: held.append(world.me.conversation)
    for _ in range(3):
        world.answer(get(b"/", CLOSE))
    assert len({id(conversation) for conversation in held}) == 3
    assert {conversation.stage for conversation in held} == {Stage.CLOSED}
    assert world.cell(REQUESTS) == 3


@pytest.mark.parametrize("engine", ["compiled"])
def test_one_that_nobody_has_got_hold_of_is_the_next_ones(world: World) -> None:
    seen: list[int] = []
    world.during = lambda _start_response: seen.append(id(world.me.conversation))
    for late in (False, True, False):
        world.answer(get(b"/", CLOSE), late)
    assert len(set(seen)) == 1


def test_a_start_response_that_is_called_when_all_is_over_answers_nobody_else(world: World) -> None:
    held: list[Any] = []
    world.during = held.append
    expected, _ = world.answer(get(b"/", CLOSE))

    def interfere(_start_response: object) -> None:
        with contextlib.suppress(Exception):
            held[0]("500 Not this one", [])

    world.during = interfere
    got, _ = world.answer(get(b"/", CLOSE))
    assert got.split(b"\r\n")[0] == expected.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("engine", ["compiled"])
def test_an_answer_and_the_end_that_its_client_has_asked_for_come_together(engine: str) -> None:
    world = World(engine)
    ended = []
    with socket.create_connection(world.listening.getsockname(), timeout=5) as client:
        client.sendall(get(b"/", CLOSE))
        now = time.monotonic_ns()
        conversation = world.context.accept(next(iter(world.pool._acceptor._sockets.values())), now)
        conversation.receive(now)
        conversation.answer(world.me, now)
        ended = [client.recv(1000)[-1:], client.recv(1000)]
        assert conversation.stage is Stage.ANSWERED
        conversation.settle()
        conversation.close()
        conversation.hang_up()
    world.close()
    assert ended == [b".", b""]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE])
def test_who_cannot_be_accepted_is_waited_for(world: World, number: int) -> None:
    """EAGAIN: another worker was faster. EMFILE: see LimitNOFILE."""
    acceptor = world.pool._acceptor
    (fd,) = acceptor.fds

    def fail(_now: int) -> Conversation:
        raise OSError(number, os.strerror(number))

    acceptor._doors = {fd: lambda _me, _now: -number} if acceptor._doors else {}
    acceptor._begin = {fd: fail}
    world.turn(NOW)
    assert acceptor.timeout(NOW) == pytest.approx(FULL_SECONDS if number == errno.EMFILE else 0.0)
    assert world.cell(ACCEPTED) == 0
