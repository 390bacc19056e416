"""New clients of the epoll pool: what they have sent already is served at once, and only who stays is watched."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.contract import Conversation, Stage
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.context import Context
from miniwsgi.daemon.worker.pools.epoll.acceptor import MOST
from miniwsgi.daemon.worker.pools.epoll.loop import EpollPool
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CONNECTIONS, HANDED_OVER, REQUESTS, TAKEN_OVER

from tests.conformance.case import get

NOW = 10**12
CLOSE = get(b"/", b"Connection: close")
LATER = NOW * 10**6


class World:
    """A pool that nobody runs, and a listener with clients."""

    def __init__(self, engine: str) -> None:
        board = Board.create()
        board.claim(0)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        settings = Settings(
            generation=1,
            listeners=(Listener(os.dup(self.listening.fileno()), "x", False, "127.0.0.1", "80"),),
            scoreboard_fd=board.fd,
            module="x",
            directory="/",
            threads=2,
            engine=engine,
        )
        log = ErrorLog("info", "text", False, "worker", slot=0)
        self.context = Context(settings, board, 0, log, None, self.application, choose(engine))
        orders: Any = SimpleNamespace(fds=list, read=None, deaf=False, has_master=False, keep_signals=lambda: None)
        self.pool = EpollPool(self.context, orders)
        self.me = self.pool._threads.owner
        self.clients: list[socket.socket] = []
        self.during = lambda: None
        self.body = b"."
        self.pool._threads.watching = True  # nobody does: who takes over is the tests' part
        self.pool._acceptor.open()

    def application(self, _environ, start_response):
        start_response("200 OK", [])
        self.during()
        return [self.body]

    def connect(self, sent: bytes = b"", count: int = 1) -> socket.socket:
        for _ in range(count):
            client = socket.create_connection(self.listening.getsockname(), timeout=5)
            client.sendall(sent)
            self.clients.append(client)
        return client

    def turn(self) -> int:
        """The listener's part of one; how many were taken."""
        before = self.cell(ACCEPTED)
        self.pool._turn.ends_ns = LATER
        (fd,) = self.pool._acceptor.fds
        self.pool._accept(self.me, fd, NOW)
        return self.cell(ACCEPTED) - before

    def cell(self, number: int) -> int:
        return self.context.slot.cells[number]

    @property
    def conversation(self) -> Conversation:
        (found,) = self.pool.clients.conversations.values()
        return found

    def watched(self) -> set[int]:
        """Which descriptors the epoll watches, by the kernel's account."""
        lines = Path(f"/proc/self/fdinfo/{self.pool.epoll.fileno()}").read_text().splitlines()
        found = {int(line.split()[1]) for line in lines if line.startswith("tfd:")}
        return found & {*self.pool.clients.conversations, *self.pool.clients.lingering._endings}


@pytest.fixture
def world(engine: str) -> Iterator[World]:
    made = World(engine)
    yield made
    for conversation in made.pool.clients.conversations.values():
        conversation.sock.close()
    for client in made.clients:
        client.close()
    made.pool._acceptor.close()
    made.listening.close()
    made.pool.epoll.close()


def test_a_request_that_is_here_is_answered_without_another_turn(world):
    client = world.connect(get())
    assert world.turn() == 1
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert world.conversation.stage is Stage.READING
    assert world.watched() == {world.conversation.sock.fileno()}
    assert (world.cell(REQUESTS), world.cell(CONNECTIONS)) == (1, 1)
    assert world.pool._turn.served == 1


def test_the_only_request_of_a_connection_is_answered_and_closed_without_having_been_watched(world, monkeypatch):
    client = world.connect(CLOSE)
    monkeypatch.setattr(world.pool.clients, "epoll", None)  # it is not asked for anything
    assert world.turn() == 1
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.recv(1000) == b""
    assert not world.pool.clients.conversations
    assert not world.pool.clients.lingering
    assert (world.cell(REQUESTS), world.cell(CONNECTIONS), world.cell(CLOSED)) == (1, 0, 1)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", get()[:-1]], ids=["nothing", "part of a line", "part of a head"])
def test_one_that_has_not_sent_all_is_watched_for_the_rest(world, sent):
    client = world.connect(sent)
    assert world.turn() == 1
    assert world.conversation.stage is Stage.READING
    assert world.watched() == {world.conversation.sock.fileno()}
    assert world.conversation.mask == select.EPOLLIN
    client.sendall(get()[len(sent) :])
    world.pool._event(world.me, world.conversation.sock.fileno(), select.EPOLLIN, NOW)
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_has_its_last_answer_and_may_send_more_is_watched_to_its_end(world):
    """RFC 9112 section 9.6: the client has not asked for the end."""
    world.context.site.closing = True
    client = world.connect(get())
    assert world.turn() == 1
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    (fd,) = world.pool.clients.lingering._endings
    assert world.watched() == {fd}


def test_a_client_that_leaves_is_noticed_while_a_thread_has_its_first_request(world):
    world.pool._turn.inline = False
    world.pool._pace.slow = True
    client = world.connect(get())
    world.pool._threads.submit = lambda _conversation: None
    world.pool._threads.threads.append(world.me)  # one that could take it
    assert world.turn() == 1
    conversation = world.conversation
    assert (conversation.stage, world.cell(HANDED_OVER)) == (Stage.REQUEST, 1)
    assert world.watched() == {conversation.sock.fileno()}
    client.close()


def test_a_client_that_leaves_is_noticed_while_its_first_request_lasts(world):
    """The watcher takes the loop from the thread that is inside the application."""
    seen = []

    def take_over():
        world.pool._threads.calls.take(world.me.conversation)
        world.pool._taken_over(world.me.conversation)
        seen.append(world.watched())

    world.during = take_over
    world.connect(get())
    assert world.turn() == 1
    assert seen == [{world.conversation.sock.fileno()}]
    assert world.cell(TAKEN_OVER) == 1
    assert list(world.pool.returned) == [world.conversation]


def test_where_requests_are_counted_those_that_have_ended_are_counted_first(world):
    """What other threads give back is taken at the beginning of a turn."""
    world.pool._in_flight = 1
    world.pool._decide()
    world.connect(get())
    assert world.turn() == 1
    assert (world.conversation.stage, world.cell(REQUESTS)) == (Stage.READING, 0)
    assert world.watched() == {world.conversation.sock.fileno()}


def test_nobody_is_taken_once_the_loop_is_lost(world):
    world.pool._acceptor._most = MOST
    world.during = lambda: world.pool._threads.calls.take(world.me.conversation)
    world.connect(CLOSE, count=2)
    assert world.turn() == 1


def test_more_are_taken_a_turn_while_more_are_there(world):
    world.connect(CLOSE, count=20)
    assert [world.turn() for _ in range(6)] == [1, 2, 4, 8, 5, 0]
    world.connect(CLOSE, count=3)
    assert [world.turn() for _ in range(3)] == [1, 2, 0]


def test_where_they_come_one_by_one_a_second_is_looked_for_ever_less_often(world, monkeypatch):
    """Each look that finds nobody costs the kernel a socket."""
    looks = []
    monkeypatch.setattr(world.pool._acceptor._balance, "wait", lambda mine: looks.append(mine) or 0.0)
    for _ in range(60):
        world.connect(CLOSE)
        assert world.turn() == 1
    assert len(looks) - 60 == 7
    world.connect(CLOSE, count=2 * MOST)
    taken = [world.turn() for _ in range(MOST + 5)]
    assert (max(taken) > MOST / 2, sum(taken)) == (True, 2 * MOST), "as soon as there are more, more are taken again"
    world.connect(CLOSE, count=7)
    assert [world.turn() for _ in range(3)] == [1, 2, 4]


def test_a_listener_is_looked_at_when_all_clients_of_the_turn_are_served(world):
    world.connect(CLOSE)
    assert world.pool._turn.wait(5) == 1
    assert world.pool._turn.serve(world.me, NOW) == NOW
    assert (world.pool._turn.others, world.cell(ACCEPTED)) == (world.pool._acceptor.fds, 0)


def test_never_so_many_that_others_wait_long(world):
    world.connect(CLOSE, count=3 * MOST)
    assert max(world.turn() for _ in range(7)) == MOST
    world.pool._acceptor._most = MOST
    world.connect(CLOSE, count=3)
    world.during = lambda: setattr(world.pool._turn, "ends_ns", 0)  # the turn's time is over with the first answer
    before = world.cell(ACCEPTED)
    world.pool._accept(world.me, world.pool._acceptor.fds[0], NOW)
    assert world.cell(ACCEPTED) == before + 1


def test_a_listener_that_another_process_lets_block_does_so_for_a_second_at_most(world):
    (fd,) = world.pool._acceptor.fds
    world.listening.setblocking(True)  # the same one, by another descriptor
    assert os.get_blocking(fd)
    world.pool._every_second(NOW)
    assert not os.get_blocking(fd)


def test_one_that_has_its_share_takes_none(world, monkeypatch):
    """Balance is asked for each of them."""
    monkeypatch.setattr(world.pool._acceptor._balance, "wait", lambda mine: 0.002 if mine >= 2 else 0.0)
    world.pool._acceptor._most = MOST
    world.connect(count=5)
    assert world.turn() == 2
    assert world.pool._acceptor.timeout(NOW) == pytest.approx(0.002)
    assert world.turn() == 0


def test_ten_thousand_idle_connections_cost_a_worker_fifteen_mebibytes(world):
    """1.5 KiB each, also if all of them come at once and have asked for something with some fields."""
    request = get(b"/", *(b"X-Field-%d: some value" % number for number in range(10)))
    world.connect(request)
    world.turn()  # what is remembered of requests, whoever sends them
    world.pool._acceptor._most = MOST
    world.connect(request, count=48)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert [world.turn() for _ in range(3)] == [MOST] * 3
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert world.cell(REQUESTS) == 49
    assert (after - before) / 48 <= 1536


def test_the_only_request_of_a_connection_that_lasts_is_told_to_the_pace(world):
    told = []
    world.pool._note_long_call = lambda began, ended: told.append(ended - began)
    world.during = lambda: time.sleep(0.02)
    client = world.connect(CLOSE)
    now = time.monotonic_ns()
    world.pool._turn.ends_ns = LATER
    (fd,) = world.pool._acceptor.fds
    assert world.pool._accept(world.me, fd, now) > now
    (lasted,) = told
    assert lasted >= 20_000_000
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.recv(1000) == b""
    assert (world.cell(CONNECTIONS), world.cell(CLOSED), world.pool._turn.served) == (0, 1, 1)


def test_who_has_gone_keeps_nobody_behind_it_in_a_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.connect(count=3)
    acceptor = world.pool._acceptor
    (fd,) = acceptor.fds
    begin, errors = acceptor._begin[fd], [ConnectionAbortedError(errno.ECONNABORTED, "gone")]

    def begin_or_fail(*arguments: Any) -> Conversation:
        if errors:
            raise errors.pop()
        return begin(*arguments)

    monkeypatch.setitem(acceptor._begin, fd, begin_or_fail)
    acceptor.empty(frozenset([fd]), NOW)
    assert world.cell(CONNECTIONS) == 3
