"""A turn of the epoll loop is bounded for each client, whatever its bytes are: others are served in between."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine import outgoing, plain
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Conversation, Outcome, Stage
from miniwsgi.daemon.http.body import FEED_STEPS
from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.head import Limits
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.context import Context
from miniwsgi.daemon.worker.pools.epoll import loop
from miniwsgi.daemon.worker.pools.epoll.acceptor import MOST
from miniwsgi.daemon.worker.pools.epoll.loop import TURN_NS, EpollPool
from miniwsgi.metrics.board import Board

from tests.conformance.case import END_CHUNK, chunk, chunked, get
from tests.support import proxy_headers

TINY = chunk(b"x") * 10_000
FAST = get(b"/fast")


class Stopped(Exception):
    pass


def of_the_real(name: str) -> Any:
    """An attribute that is the real turn's."""
    return property(lambda self: getattr(self._real, name), lambda self, value: setattr(self._real, name, value))


class OneTurn:
    """A turn as it is, or with the events that are given, and none behind it."""

    inline, served, ends_ns, others = map(of_the_real, ("inline", "served", "ends_ns", "others"))

    def __init__(self, pool: EpollPool, events: list[tuple[int, int]] | None) -> None:
        self._pool, self._real, self._events, self._over = pool, pool._turn, events, False

    def wait(self, _seconds: float) -> int:
        if self._over:
            raise Stopped
        self._over = True
        return self._real.wait(0) if self._events is None else len(self._events)

    def serve(self, thread: ThreadAccount, now: int) -> int:
        if self._events is None:
            return self._real.serve(thread, now)
        for fd, mask in self._events:
            if fd in self._pool.clients.conversations:
                now = self._pool._event(thread, fd, mask, now)
            else:
                self.others.append(fd)
        return now

    def settle(self, thread: ThreadAccount, now: int) -> int:
        return self._real.settle(thread, now)


class World:
    """A pool of one thread on real sockets, whose turns a test makes and whose clock it sets."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        board = Board.create()
        board.claim(0)
        listener = Listener(os.dup(listening.fileno()), "x", False, "127.0.0.1", "80")
        opening = Listener(os.dup(listening.fileno()), "y", False, "127.0.0.1", "81", proxy_protocol=True)
        settings = Settings(
            generation=1, listeners=(listener, opening), threads=1, trusted=("127.0.0.1",),
            scoreboard_fd=board.fd, module="x", directory="/",
        )  # fmt: skip
        self.answered: list[str] = []
        self.blocks = 0
        log = ErrorLog("info", "text", False, "worker", slot=0)
        self.pool = EpollPool(
            Context(settings, board, 0, log, None, self.application, choose("plain")),  # whose clock can be set
            SimpleNamespace(fds=list, read=None, deaf=False, expired=None, keep_signals=lambda: None),
        )
        self.me = self.pool._threads.owner
        self.me.calls = None
        self.now = 10**12
        self.step_ns = 0  # how long each call of the application takes, and each block
        self.parsing_ns = 0  # how long each further part of a body takes to be parsed
        self.parsed: list[Conversation] = []  # whose were, in this order
        self._sizes: dict[Conversation, int] = {}
        self.ends: list[socket.socket] = []
        self.conversations: list[Conversation] = []

    def time(self) -> int:
        """What the clock shows: what was done since it was last looked at has taken its time."""
        for client in self.conversations:
            body = client._http.body
            if body is not None and body.size != self._sizes.get(client):
                self._sizes[client] = body.size
                self.parsed.append(client)
                self.now += self.parsing_ns
        return self.now

    def application(self, environ, start_response):
        self.answered.append(environ["PATH_INFO"])
        self.now += self.step_ns
        start_response("200 OK", [])
        return self.stream() if environ["PATH_INFO"] == "/stream" else [b"."]

    def stream(self):
        while self.blocks < 1000:
            self.blocks += 1
            self.now += self.step_ns
            yield b"x"

    def connect(self, data: bytes) -> Conversation:
        near, far = socket.socketpair()
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        context = self.pool.context
        client = context.converse(near, context.settings.listeners[0], ("127.0.0.1", 1), self.now)
        self.pool.clients.admit(client)
        self.pool.clients.arm(client, select.EPOLLIN)
        assert far.send(data) == len(data)
        self.ends.append(far)
        self.conversations.append(client)
        return client

    def open(self, data: bytes) -> None:
        """A client that has something to send before its first request, and does so when it has been accepted."""
        near, far = socket.socketpair()
        near.setblocking(False)
        self.pool.clients.openings.admit(self.pool.context.settings.listeners[1].fd, near, ("127.0.0.1", 1), self.now)
        far.sendall(data)
        self.ends.append(far)

    def turn(self, events: list[tuple[int, int]] | None = None) -> None:
        """One turn, with all that is ready, or with what is given."""
        real = self.pool._turn
        self.pool._turn = OneTurn(self.pool, events)
        try:
            self.pool._loop(self.me)
        except Stopped:
            pass
        finally:
            self.pool._turn = real

    def until(self, condition: Callable[[], object], most: int = 2000) -> int:
        for turns in range(most):
            if condition():
                return turns
            self.turn()
        raise AssertionError(f"not in {most} turns")


@pytest.fixture
def world(monkeypatch) -> Iterator[World]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = World(listening)
        clock = SimpleNamespace(monotonic_ns=made.time, monotonic=lambda: made.time() / 1e9)
        monkeypatch.setattr(loop, "time", clock)
        monkeypatch.setattr(plain, "time", clock)
        made.pool._next_second_ns = made.pool._next_check_ns = 1 << 62
        yield made
        for each in (*made.ends, *(client.sock for client in made.conversations)):
            each.close()


def test_one_byte_chunks_of_many_clients_hold_nobody(world):
    heavy = [world.connect(chunked(TINY, END_CHUNK, target=b"/heavy")) for _ in range(20)]
    world.turn()
    assert all(client.stage is Stage.UNPARSED and client._http.body.size <= FEED_STEPS for client in heavy)
    world.connect(FAST)
    world.turn()
    assert world.answered == ["/fast"]
    assert all(client._http.state is Parsing.BODY for client in heavy)
    world.until(lambda: len(world.answered) == 21)
    assert set(world.answered[1:]) == {"/heavy"}


def test_what_is_left_for_later_turns_takes_no_more_than_a_turn_together(world):
    heavy = [world.connect(chunked(TINY, END_CHUNK, target=b"/heavy")) for _ in range(20)]
    world.turn()
    world.time()
    world.parsed.clear()
    world.parsing_ns = TURN_NS // 4
    seen = []
    for _ in range(4):
        world.turn()
        world.time()
        seen.append(len(world.parsed))
    assert seen == [5, 10, 15, 20]
    assert len({id(client) for client in world.parsed}) == len(heavy)  # each in its turn


def test_a_pipeline_waits_when_the_turn_is_over(world):
    world.step_ns = TURN_NS // 2
    world.connect(get(b"/1") * 50)
    world.connect(get(b"/2") * 50)
    world.connect(FAST)
    world.turn()
    assert world.answered == ["/1", "/1", "/1", "/2", "/fast"]
    world.until(lambda: len(world.answered) == 101)


@pytest.mark.parametrize("clients", [1, 10])
def test_who_is_to_begin_has_a_turn_beside_those_that_take_all_of_theirs(world, clients):
    world.step_ns = 2 * TURN_NS
    world.connect(get(b"/busy") * 500)
    for _ in range(clients):
        world.open(proxy_headers.LINE + FAST)
    assert world.until(lambda: world.answered.count("/fast") == clients) <= clients + 1
    assert world.answered.count("/busy") >= clients


def test_those_that_are_to_begin_take_no_more_than_a_turn_together(world):
    world.step_ns = TURN_NS // 4
    for _ in range(20):
        world.open(proxy_headers.LINE + FAST)
    world.turn()
    assert world.answered == ["/fast"] * 5


def test_new_clients_have_a_turn_beside_those_that_take_all_of_theirs(world):
    world.step_ns = TURN_NS // 4
    busy = [world.connect(get(b"/busy")) for _ in range(8)]
    listener = world.pool.context.settings.listeners[0].fd
    world.pool._acceptor.open()
    world.pool._acceptor._most = MOST
    for _ in range(12):
        client = socket.create_connection(world.listening.getsockname())
        client.sendall(FAST)
        world.ends.append(client)
    world.turn([*((client.sock.fileno(), select.EPOLLIN) for client in busy), (listener, select.EPOLLIN)])
    assert world.answered == ["/busy"] * 8 + ["/fast"] * 5


def test_a_request_sent_behind_a_body_of_tiny_chunks_is_answered(world):
    world.connect(chunked(TINY, END_CHUNK, target=b"/heavy") + FAST)
    world.until(lambda: world.answered == ["/heavy", "/fast"])


def test_what_is_wrong_in_a_later_turn_is_refused(world):
    client = world.connect(chunked(TINY, b"nonsense\r\n"))
    world.until(lambda: client.stage is Stage.CLOSED)
    assert world.ends[0].recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_stream_of_tiny_blocks_waits_when_the_turn_is_over(world):
    world.step_ns = TURN_NS // 10
    world.connect(get(b"/stream"))
    world.turn()
    assert 5 <= world.blocks <= 11
    world.connect(FAST)
    world.turn()
    assert world.answered == ["/stream", "/fast"]
    received = bytearray()

    def whole() -> bool:
        try:
            received.extend(world.ends[0].recv(65536))
        except BlockingIOError:
            pass
        return received.endswith(END_CHUNK)

    assert world.until(whole) > 50
    assert received.count(b"1\r\nx\r\n") == 1000


def test_tiny_blocks_that_wait_for_their_reader_are_few(world):
    client = world.connect(b"")
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    sent = 0
    while not client.unsent:
        client.send(b"%08d" % sent)
        sent += 1
    for _ in range(20_000):
        client.send(b"%08d" % sent)
        sent += 1
    assert len(client._kept._parts) <= client.unsent // outgoing.JOINED_BYTES + 2
    received = b""
    while len(received) < 8 * sent:
        client.flush_kept()
        received += world.ends[0].recv(1 << 20)
    assert received == b"".join(b"%08d" % number for number in range(sent))
    assert client.unsent == 0


def test_parts_of_a_body_are_the_same_as_the_whole():
    data = [bytes([number % 256]) * (number % 40) for number in range(1, 4000)]
    lines = [b"%x" % len(part) if number % 3 else b"%04X;a=b" % len(part) for number, part in enumerate(data)]
    stream = b"".join(line + b"\r\n" + part + b"\r\n" for line, part in zip(lines, data, strict=True) if part)
    connection = Connection(Limits())
    complete = connection.receive(chunked(stream, b"0\r\n", *(b"T: v\r\n",) * 1500, b"\r\n", get(b"/next")))
    calls = 1
    while not complete:
        assert connection.unparsed
        complete = connection.advance()
        calls += 1
    assert connection.body.file().read() == b"".join(data)
    assert connection.pending == get(b"/next")
    assert calls > (len(data) + 1500) // FEED_STEPS


def test_a_new_connection_is_not_taken_for_one_whose_number_it_has(world):
    """It is accepted after the clients of a turn: an event of that turn may be of who had its number before."""
    ending = world.connect(FAST)
    assert ending.receive(world.now) is Outcome.REQUEST
    number, listener = ending.sock.fileno(), world.pool.context.settings.listeners[0].fd
    below = []
    while (filler := os.dup(listener)) < number:
        below.append(filler)
    os.close(filler)
    ending.gone = True
    world.pool.returned.append(ending)
    world.pool._acceptor.open()
    world.pool._acceptor.timeout(world.now)
    with socket.create_connection(world.listening.getsockname()) as client:
        client.sendall(FAST)
        world.turn([(listener, select.EPOLLIN), (number, select.EPOLLIN | select.EPOLLHUP)])
        assert list(world.pool.clients.conversations) == [number]
        world.until(lambda: world.answered)
    for fd in below:
        os.close(fd)
