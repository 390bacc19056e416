"""Orders of events in the epoll pool that no client can bring about at will."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.context import Context
from miniwsgi.daemon.worker.pools import requests
from miniwsgi.daemon.worker.pools.crew import Member
from miniwsgi.daemon.worker.pools.epoll import EpollPool
from miniwsgi.daemon.worker.pools.peer import Peer
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import BUSY_THREADS, HANDED_OVER, REJECTED, T_START, T_STATE, WAITING

NOW = 10**12


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


@pytest.fixture
def pool() -> Iterator[EpollPool]:
    """A pool of 4 threads that nobody runs."""
    board = Board.create()
    board.claim(0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = Settings(
            generation=1,
            listeners=(Listener(os.dup(listening.fileno()), "x", False, "127.0.0.1", "80"),),
            scoreboard_fd=board.fd,
            module="x",
            directory="/",
            threads=4,
            request_timeout=1.0,
        )
        log = ErrorLog("info", "text", False, "worker", slot=0)
        context = Context(settings, board, 0, log, None, application)
        yield EpollPool(context, SimpleNamespace(fds=list, read=None, deaf=False))


def complete(pool: EpollPool) -> Peer:
    """A client whose request is here."""
    base = pool.context.base_environ(pool.context.settings.listeners[0], ("127.0.0.1", 1))
    peer = Peer(pool.context, SimpleNamespace(send=len), base, None, NOW)
    assert peer.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return peer


def test_what_was_handed_over_to_nobody_known_and_is_gone_has_been_taken(pool, monkeypatch):
    monkeypatch.setattr(pool._crew, "give", lambda peer: None)  # a thread that is being started has taken it at once
    peer = complete(pool)
    assert pool._crew.is_alone
    assert pool._hand_over(peer, NOW)
    assert (pool.outstanding, pool.slot.cells[HANDED_OVER]) == (1, 1)


def test_a_request_is_not_seen_with_the_start_of_the_last_one(pool, monkeypatch):
    me = pool._crew.members[0]
    cells = pool.slot.cells
    cells[me.cell + T_STATE], cells[me.cell + T_START] = 1, NOW - 10**10
    expired = []
    monkeypatch.setattr(requests, "expire", lambda *arguments: expired.append(arguments))

    def look(slot, me, line):
        requests.check_running(pool.context, pool.orders, [me], NOW)

    monkeypatch.setattr(requests, "show_text", look)
    requests.begin(pool.context, me, complete(pool), NOW)
    assert expired == []


@pytest.mark.parametrize(
    ("requests_before", "sent_ahead", "partings", "lasts"),
    [(1, b"", 0, True), (1, b"", 1, False), (0, b"", 1, True), (1, b"GET / HTTP/1.1\r\n", 1, True)],
    ids=["nothing to give up", "one to give up", "not with its first answer", "not when more has come"],
)
def test_a_connection_ends_with_an_answer_when_others_have_fewer(
    pool: EpollPool, requests_before: int, sent_ahead: bytes, partings: int, lasts: bool
) -> None:
    peer = complete(pool)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent_ahead)
        peer.sock, peer.requests = ours, requests_before
        pool.context.partings[:] = [None] * partings
        exchange, _ = requests.begin(pool.context, pool._crew.members[0], peer, NOW)
    assert exchange.persistent is lasts
    assert len(pool.context.partings) == (partings if lasts else 0)


@pytest.mark.parametrize("in_flight", [0, 4])
def test_a_result_that_waits_for_its_busy_thread_takes_no_other(pool: EpollPool, in_flight: int) -> None:
    """Of four threads three are inside the application; to one of them belongs a stream that its client reads again."""
    crew, cells = pool._crew, pool.slot.cells
    crew.watching = True
    pool._in_flight = in_flight
    for number in (1, 2, 3):
        crew.members.append(Member(number, pool.slot))
        crew.members[number].peer = complete(pool)
        pool._lost(crew.members[number].peer)
    stream = complete(pool)
    stream.owner = crew.members[1]
    pool.wake_owner(stream)
    assert (cells[BUSY_THREADS], cells[WAITING], pool.outstanding) == (3, 1, 4)
    assert pool._serve(crew.members[0], complete(pool), NOW)
    assert (pool._inline, cells[HANDED_OVER], cells[REJECTED]) == (1, 0, 0)
    crew.members[1].peer = None  # it is done, and takes the stream now
    assert pool._in_hand() == 4


def test_the_leaders_own_results_wait_for_no_other_thread(pool: EpollPool) -> None:
    for _ in range(4):
        stream = complete(pool)
        stream.owner = pool._crew.leader
        pool.wake_owner(stream)
    assert pool._in_hand() == 0
    assert pool._may_resume()
    assert not pool._crew._reserved
